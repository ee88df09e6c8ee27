"""`sslzoo.compare`: new and finished runs, and its errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from short_runs import SETTINGS

import sslzoo
from sslzoo.comparison.cells import create_cells, flatten_layer
from sslzoo.comparison.request import parse_request

OWN = {name: value for name, value in SETTINGS.items() if name != "method"} | {"epochs": 1, "knn_every": 0}


@pytest.mark.long
def test_methods_and_seeds(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"output": tmp_path / "compared", "vary": {"target.neighbors": [1, 2]}, **OWN}
    arguments |= {"method": {"queue_size": 128}, "progress": False}
    compared = sslzoo.compare(["moco", "ascl"], seeds=2, **arguments)
    assert list(compared.scores.index) == ["moco", "ascl target.neighbors=1", "ascl target.neighbors=2"]
    assert (compared.scores["seeds"] == 2).all()
    assert len(compared.runs) == 6
    assert compared.page.is_file()
    assert compared.failed == ()
    call = yaml.safe_load((tmp_path / "compared/comparison.yaml").read_text())["command"]
    assert call[0].startswith("sslzoo.compare(methods=['moco', 'ascl'], seeds=2")
    run = sslzoo.Run(compared.runs["folder"][0])
    assert (run.config.method.queue_size, run.config.batch_size) == (128, 32)
    before = run.path.stat().st_mtime_ns
    again = sslzoo.compare(["moco", "ascl"], seeds=2, **arguments)
    assert run.path.stat().st_mtime_ns == before
    assert again.scores.equals(compared.scores)


def test_finished_runs(trained: sslzoo.Run, tmp_path: Path) -> None:
    other = sslzoo.train(output=tmp_path / "other", progress=False, **SETTINGS | {"target": "one-hot"})
    compared = sslzoo.compare(runs=[trained, other.path], output=tmp_path / "compared", baseline="ascl", progress=False)
    assert list(compared.scores.index) == ["ascl", "ascl:one-hot"]
    accuracy = 100 * trained.summary["test"]["trained"]["knn"]["accuracy"]
    assert compared.scores.loc["ascl", "knn_mean"] == pytest.approx(accuracy)
    assert list(compared.runs["folder"]) == [str(trained.path), str(other.path)]
    assert "ascl:one-hot" in compared._repr_html_()


def test_settings_and_flags_create_the_same_runs() -> None:
    from dataclasses import replace

    flags = ["--epochs", "1", "--method.queue-size", "128", "--loss", "cross-entropy", "--target.neighbors", "3"]
    own = ["--methods", "moco,ascl,moco:hard", "--seeds", "0,4"]
    settings = {"epochs": 1, "method": {"queue_size": 128}, "loss": "cross-entropy", "target.neighbors": 3}
    by_flags = create_cells(parse_request([*own, *flags]))
    in_python = create_cells(replace(parse_request(own), settings=settings))
    assert [(cell.name, cell.experiment.as_yaml()) for cell in by_flags] == [
        (cell.name, cell.experiment.as_yaml()) for cell in in_python
    ]


def test_names_of_flattened_settings() -> None:
    layer = {"loss": {"name": "cosine"}, "backbone": {"kwargs": {"channels": [1]}}, "optimizer": {"lr": 1}}
    assert flatten_layer(layer) == {"loss": "cosine", "backbone.kwargs": {"channels": [1]}, "optimizer.lr": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "compare: requires --methods, as in --methods moco,ascl, or --runs"),
        ({"methods": ["mocoo"]}, "--method mocoo: no such method; did you mean moco"),
        ({"methods": "moco", "seeds": 0}, "seeds = 0: must be a number of seeds, as in 3, or a list, as in [0, 4, 7]"),
        ({"methods": "moco", "seeds": [-1]}, "seeds = [-1]: must be a number of seeds"),
        ({"methods": "moco", "seed": 3}, "compare --seed: --seeds takes the seeds"),
        ({"methods": "moco", "run_folder": "a"}, "compare --run-folder: --folder is the folder of all runs"),
        ({"methods": "moco", "method": "byol"}, "compare --method: --methods takes the names"),
        ({"methods": "moco", "epoch": 3}, "epoch: no such setting; did you mean epochs?"),
        ({"methods": ["moco", "byol"], "method": {"queue_sise": 3}}, "method.queue_sise: moco and byol have no such"),
        ({"methods": "moco", "vary": {"target.neighbors": [[1]]}}, "vary target.neighbors = [1]: must be numbers"),
        ({"methods": "moco", "data": [np.zeros((8, 8, 3))]}, "compare: the data set is in memory, which the processes"),
        ({"runs": ["a"], "epochs": 3}, "compare runs: takes finished runs, so epochs is not allowed"),
        ({"runs": ["a"]}, "a: not a finished run (it has no config.yaml)"),
    ],
)
def test_invalid_arguments(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sslzoo.UserError) as error:
        sslzoo.compare(progress=False, **arguments)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []
