"""`sslzoo.evaluate`: weights of runs, timm and files, and its errors."""

import json
from pathlib import Path
from typing import Any

import pytest

import sslzoo
from sslzoo.cli import main
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.weights import select_weights

DIGITS = {"evaluation": {"draws": 2}}


def test_result_equals_that_of_the_command_line(trained: sslzoo.Run, tmp_path: Path) -> None:
    evaluation = trained.evaluate(["knn", "logistic"], output=tmp_path / "python", progress=False, **DIGITS)
    words = ["evaluate", str(trained.path), "--protocol", "knn", "logistic", "--folder", str(tmp_path / "line")]
    assert main([*words, "--evaluation.draws", "2"]) == 0
    assert evaluation.path == tmp_path / "python"
    written = json.loads((tmp_path / "line" / "result.json").read_text())
    del written["sha256"]
    assert json.loads(json.dumps(evaluation.result)) == {
        key: value for key, value in written.items() if key != "sha256"
    }
    scores = evaluation.scores
    assert list(scores.index) == [("knn", "knn"), ("logistic", "logistic")]
    assert scores.loc[("knn", "knn"), "accuracy"] == evaluation.result["protocols"]["knn"]["knn"]["accuracy"]
    assert (scores["low"] <= scores["accuracy"]).all()
    assert "<table" in evaluation._repr_html_()


def test_path_file_and_object_are_the_same_weights(trained: sslzoo.Run, tmp_path: Path) -> None:
    results = [
        sslzoo.evaluate(weights, protocols="knn", output=tmp_path / str(number), progress=False, **settings).result
        for number, (weights, settings) in enumerate(
            [
                (trained, {}),
                (str(trained.path), {}),
                (trained.path / "backbone.safetensors", {"backbone": trained.config.backbone.model_dump(
                    include={"kwargs"}), "dataset": {"limit": 256, "test_limit": 60}} | DIGITS),
            ]
        )
    ]  # fmt: skip
    accuracies = [result["protocols"]["knn"]["knn"]["accuracy"] for result in results]
    assert accuracies[0] == accuracies[1] == accuracies[2]


def test_untrained_and_timm_models(tmp_path: Path) -> None:
    settings = {"dataset": {"limit": 64, "test_limit": 40}, "img_size": 32, "output": tmp_path / "a"}
    baseline = sslzoo.evaluate(
        backbone="resnet10t", untrained=True, protocols="knn", progress=False, **settings, **DIGITS
    )
    assert baseline.result["weights"] == "random, seed 0"
    ((_, job),) = compose_jobs(select_weights("resnet50.a1_in1k"), {"dataset": "cifar10", "precision": "fp32"})
    assert (job.backbone.name, job.backbone.pretrained, job.dataset.name) == ("resnet50.a1_in1k", True, "cifar10")


def test_words_of_weights(trained: sslzoo.Run, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"")
    assert select_weights(None) == []
    assert select_weights(trained) == select_weights(str(trained.path)) == [str(trained.path)]
    assert select_weights("hf-hub:owner/model") == ["--backbone", "hf-hub:owner/model", "--pretrained"]
    assert select_weights(file, "resnet18") == ["--backbone", "resnet18", "--checkpoint", str(file)]
    exported = trained.path / "backbone.safetensors"
    assert select_weights(exported) == ["--backbone", "resnet10t_cifar", "--checkpoint", str(exported)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": 5}, "weights: is a int; must be a run, a path, or a name of timm or the Hub"),
        ({"weights": "resnet51"}, "weights resnet51: no such run folder or file, nor a model of timm; did you mean"),
        ({"weights": "runs/a"}, "weights runs/a: no such run folder or file, nor a model of timm"),
        ({"weights": Path("runs/a")}, "evaluate runs/a: not a run folder (it has no config.yaml)"),
        ({"weights": "resnet18.a1_in1k", "backbone": "resnet18"}, "backbone resnet18: cannot be combined with the"),
        ({"weights": "resnet18.a1_in1k", "epochs": 3}, "epochs: no such setting"),
        ({"weights": "resnet18.a1_in1k", "img_sise": 3}, "img_sise: no such setting; did you mean img_size?"),
        ({"weights": "resnet18.a1_in1k", "protocols": "knnn"}, "--protocol knnn: no such protocol; did you mean knn"),
        ({"weights": "resnet18.a1_in1k", "data": "cifr10"}, "--dataset cifr10: no such data set; did you mean cifar10"),
        ({"backbone": "resnet18"}, "evaluate: no weights for resnet18: name a run folder, or give --pretrained"),
    ],
)
def test_invalid_arguments(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sslzoo.UserError) as error:
        sslzoo.evaluate(progress=False, **arguments)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_unfinished_run_and_file_without_name(trained: sslzoo.Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text(trained.config.as_yaml())
    with pytest.raises(sslzoo.UserError, match=r"the run is not finished, it has no backbone\.safetensors"):
        sslzoo.Run(tmp_path / "run").evaluate("knn")
    with pytest.raises(sslzoo.UserError, match="the run has no checkpoint yet"):
        sslzoo.Run(tmp_path / "run").backbone()
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(sslzoo.UserError, match="does not name its model; give its name in timm as backbone="):
        sslzoo.evaluate(tmp_path / "weights.pth")
