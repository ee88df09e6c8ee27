"""Custom parts that a notebook cell defines: a cell can be edited, and other processes get a one-line error."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from short_runs import SETTINGS, read_weights

import sslzoo
from sslzoo.cli import main
from sslzoo.config.registry import Registry
from sslzoo.data.sources import DATASETS
from sslzoo.losses import LOSSES
from sslzoo.method import METHODS
from sslzoo.targets import TARGETS

CELL = """
import torch.nn.functional as F
from sslzoo import LOSSES, Loss

@LOSSES.register("sharp")
class Sharp(Loss):
    '''Cross-entropy with a low temperature.'''

    class Config(Loss.Config):
        temperature: float = 0.05

    def forward(self, student, weights):
        return -(weights * F.log_softmax(student / self.config.temperature, dim=1)).sum(dim=1)
"""
OWN = SETTINGS | {"epochs": 1, "knn_every": 0, "method": {"name": "moco", "queue_size": 128}, "loss": "sharp"}
REGISTRIES: list[Registry[Any]] = [METHODS, TARGETS, LOSSES, DATASETS]


@pytest.fixture
def run_cell() -> Iterator[Callable[[str], dict[str, Any]]]:
    """Execute code as a cell of a notebook; its parts are forgotten after the test."""

    def execute(code: str) -> dict[str, Any]:
        names = {"__name__": "__main__"}
        exec(code, names)
        return names

    yield execute
    forget()


def forget() -> None:
    """Unload the parts of `__main__`, as a new process does not have them."""
    for registry in REGISTRIES:
        for name, part in list(registry._classes.items()):
            if part.__module__ == "__main__":
                del registry._classes[name]


def test_cell_can_be_executed_again_and_renamed(run_cell: Callable[[str], dict[str, Any]]) -> None:
    first, second = run_cell(CELL)["Sharp"], run_cell(CELL.replace("0.05", "0.5"))["Sharp"]
    assert LOSSES.get("sharp") is second is not first
    assert sslzoo.compose([], {"method": "moco", "loss": "sharp"}).loss.temperature == 0.5
    renamed = run_cell(CELL.replace("Sharp(", "Blunt("))["Blunt"]
    assert LOSSES.get("sharp") is renamed
    assert sslzoo.compose([], {"method": "moco", "loss": renamed}).loss.name == "sharp"


def test_cell_cannot_replace_a_part_of_sslzoo_or_of_a_file(
    run_cell: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(sslzoo.UserError, match="loss 'cosine' is defined twice"):
        run_cell(CELL.replace('"sharp"', '"cosine"'))
    (tmp_path / "sharp_loss.py").write_text(CELL)
    sslzoo.compose(["--plugin", str(tmp_path / "sharp_loss.py")])
    with pytest.raises(sslzoo.UserError, match=r"loss 'sharp' is defined twice: by .*sharp_loss\.py:Sharp and by"):
        run_cell(CELL)


def test_cell_trains_and_other_processes_ask_for_a_file(
    run_cell: Callable[[str], dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = run_cell(CELL)["Sharp"]
    run = sslzoo.train(output=tmp_path / "run", progress=False, **OWN | {"loss": loss})
    assert run.config.plugin == ("__main__",)
    assert run.config.loss.temperature == 0.05
    forget()
    line = (
        f"{run.path / 'config.yaml'}: loss sharp was defined in a notebook or script, which another process cannot "
        "import; move the class to a file and name it with --plugin FILE (plugin= in Python)"
    )
    for words in (["--resume", str(run.path)], ["evaluate", str(run.path)], ["compare", "--runs", str(run.path)]):
        assert main(words) == 2
        assert capsys.readouterr().err == f"error: {line}\n"
    with pytest.raises(sslzoo.UserError) as error:
        sslzoo.train(resume=run.path)
    assert str(error.value) == line
    (tmp_path / "sharp_loss.py").write_text(CELL)
    plugin = tmp_path / "sharp_loss.py"
    assert sslzoo.Run(run.path, plugin=plugin).config.loss.name == "sharp"
    assert main(["--resume", str(run.path), "--plugin", str(plugin)]) == 0


def test_imported_module_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sharp_module.py").write_text(CELL)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("sharp_module")
    run = sslzoo.train(output=tmp_path / "run", progress=False, **OWN)
    assert run.config.plugin == (str(tmp_path / "sharp_module.py"),)
    code = f"import sslzoo; print(sslzoo.Run({str(run.path)!r}).config.loss.temperature)"
    words = [sys.executable, "-c", code]
    assert subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout == "0.05\n"


def test_compare_refuses_parts_of_a_cell_before_it_starts(
    run_cell: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    run_cell(CELL)
    with pytest.raises(sslzoo.UserError, match="compare moco: a part is defined in this notebook or script, which the"):
        sslzoo.compare(["moco"], seeds=1, loss="sharp", output=tmp_path / "compared", progress=False)
    assert not (tmp_path / "compared").exists()


def test_method_target_and_data_set_of_cells(run_cell: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    cell = run_cell("""
import torch
from datasets import ClassLabel, Dataset, Features, Image
from sslzoo import DATASETS, METHODS, TARGETS, Source, Target, TargetOutput
from sslzoo.methods.simclr import SimCLR

@METHODS.register("my-simclr")
class MySimCLR(SimCLR):
    '''SimCLR by another name.'''

@TARGETS.register("first")
class First(Target):
    '''All weight on the positive.'''

    def forward(self, positive, candidates):
        weights = torch.zeros(len(positive), 1 + candidates.shape[1], device=positive.device)
        weights[:, 0] = 1
        return TargetOutput(weights, {})

@DATASETS.register("squares")
class Squares(Source):
    '''Gray squares.'''

    def load(self, split):
        import numpy as np
        images = [np.full((8, 8), 2 * i, dtype=np.uint8) for i in range(64)]
        return Dataset.from_dict({"image": images}, features=Features(image=Image()))
""")
    settings = {name: OWN[name] for name in ("threads", "precision", "schedule.warmup_epochs", "knn_every", "epochs")}
    run = sslzoo.train(
        "squares", method=cell["MySimCLR"], target="first", batch_size=16, img_size=8, output=tmp_path / "run",
        progress=False, dataset={"channels": 1, "mean": [0.5], "std": [0.5], "test": None},
        backbone={"name": "resnet10t", "kwargs": {"channels": [8, 8, 8, 8]}}, **settings,
    )  # fmt: skip
    assert (run.config.method.name, run.config.target.name, run.config.dataset.name) == (
        "my-simclr",
        "first",
        "squares",
    )
    assert len(read_weights(run)) > 1000
