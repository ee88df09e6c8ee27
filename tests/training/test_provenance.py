"""A resumed run notices that settings, images, labels or checkpoints have changed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_command import MOCO, TINY, run
from test_resume import create_loop, train

from sslzoo.check.tiny import TinyBackbone
from sslzoo.cli import main
from sslzoo.experiment.compose import compose
from sslzoo.experiment.resume import find_changed_settings
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.training.checkpoint import PROVENANCE
from sslzoo.training.folder import RunFolder
from sslzoo.training.provenance import join_differences
from sslzoo.training.stop import Interrupted

FLAGS = [
    "--epochs", "2", "--batch-size", "8", "--schedule.warmup-epochs", "0", "--knn-every", "0", "--threads", "1",
    "--log-every", "1", "--method.queue-size", "16", "--method.split-bn", "2", "--img-size", "8",
    "--dataset.channels", "1", "--dataset.mean", "0.5", "--dataset.std", "0.25",
]  # fmt: skip


def write_images(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 40 training images and 8 test images of two classes."""
    for seed, (split, count) in enumerate((("train", 20), ("test", 4))):
        for name in ("cat", "dog"):
            write_images(tmp_path / "images" / split / name, count, seed=2 * seed + (name == "dog"))
    return tmp_path / "images"


@pytest.fixture
def experiment(images: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())
    return compose(
        [
            *FLAGS,
            "--dataset",
            "folder",
            "--dataset.path",
            str(images),
            "--dataset.unlabeled",
            "false",
            "--dataset.test",
            "test",
        ]
    )


@pytest.fixture
def stopped(experiment: Experiment, tmp_path: Path) -> Path:
    """The folder of a run that was stopped after two of ten steps."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(experiment.as_yaml())
    with pytest.raises(Interrupted):
        train(experiment, tmp_path / "run", stop_after=2)
    return tmp_path / "run"


def replace_image(images: Path) -> None:
    write_images(images / "new", 1, seed=9)
    (images / "new" / "00.png").replace(images / "train" / "cat" / "00.png")
    (images / "new").rmdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "split train had 40 images and now has 39; split labeled had 40 images and now has 39": lambda images: (
        images / "train" / "cat" / "00.png"
    ).unlink(),
    "split train has other images, or their files were modified": replace_image,
    "split test has other images, or their files were modified": lambda images: shutil.copy(
        images / "test" / "cat" / "00.png", images / "test" / "cat" / "01.png"
    ),
    "split train has other labels": lambda images: (images / "train" / "cat" / "19.png").rename(
        images / "train" / "dog" / "-1.png"
    ),
    "class 'cat' is now 'bird'": lambda images: [
        (images / split / "cat").rename(images / split / "bird") for split in ("train", "test")
    ],
}


@pytest.mark.parametrize("message", CHANGES)
@pytest.mark.parametrize("cache", ["memory-map", "none"])
def test_changed_data_is_noticed(message: str, cache: str, experiment: Experiment, stopped: Path, images: Path) -> None:
    dataset = experiment.dataset.model_copy(update={"cache": cache})
    experiment = experiment.model_copy(update={"dataset": dataset})
    CHANGES[message](images)
    with pytest.raises(UserError, match="settings or data have changed since step 2") as error:
        create_loop(experiment, stopped)
    if cache == "memory-map":
        assert message in str(error.value)


def test_copy_of_the_images_is_accepted(experiment: Experiment, stopped: Path, images: Path) -> None:
    for file in images.rglob("*.png"):
        os.utime(file, (0, 0))
    assert create_loop(experiment, stopped).step == 2


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("seed", 1, "seed was 0 and is now 1"),
        ("epochs", 3, "epochs was 2 and is now 3"),
        ("optimizer.lr", 0.5, r"optimizer.lr was [0-9.]+ and is now 0.5"),
        ("method.momentum", 0.5, "method.momentum was 0.99 and is now 0.5"),
    ],
)
def test_edited_config_is_noticed(
    setting: str, value: float, message: str, experiment: Experiment, stopped: Path
) -> None:
    part, _, name = setting.rpartition(".")
    changed = {part: getattr(experiment, part).model_copy(update={name: value})} if part else {name: value}
    with pytest.raises(UserError, match=message):
        create_loop(experiment.model_copy(update=changed), stopped)


def test_images_may_move_to_another_folder(experiment: Experiment, stopped: Path, images: Path) -> None:
    shutil.copytree(images, images.with_name("copy"))
    shutil.rmtree(images)
    path = {"path": str(images.with_name("copy")), "workers": 0}
    moved = experiment.model_copy(update={"dataset": experiment.dataset.model_copy(update=path)})
    assert create_loop(moved, stopped).step == 2


def test_changeable_settings_may_change(experiment: Experiment, stopped: Path) -> None:
    changed = experiment.model_copy(update={"log_every": 2, "save_minutes": 3.0, "threads": 2})
    assert create_loop(changed, stopped).step == 2


def test_renamed_checkpoint_is_damaged(experiment: Experiment, stopped: Path) -> None:
    (stopped / "checkpoints" / "step-00000002").rename(stopped / "checkpoints" / "step-00000005")
    with pytest.raises(UserError, match=r"no checkpoint is intact \(step-00000005: it contains step 2\)"):
        create_loop(experiment, stopped)


def test_setting_that_only_one_side_has_is_a_change() -> None:
    changes = find_changed_settings({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}})
    assert list(changes) == ["a.c was 2 and is now None", "a.d was None and is now 3"]


def test_message_names_the_first_differences() -> None:
    assert join_differences(list("abc")) == "a; b; c"
    assert join_differences(list("abcde")) == "a; b; c; and 2 more"


@pytest.mark.long
def test_resume_anyway_continues_with_changes_and_records_them(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    flags = [*TINY, *MOCO, "--epochs", "1", "--run-folder", str(folder), "--save-every", "4"]
    run(*flags)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-00000008")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("seed: 0", "seed: 1", 1))
    refused = run("--resume", folder, code=2)
    assert "have changed since step 4: seed was 0 and is now 1; restore them, or continue" in refused.stderr
    assert not (folder / "summary.json").exists()
    run("--resume", str(folder), "--resume-anyway", "--epochs", "2")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 16
    assert summary["changes"] == ["step 4: epochs was 1 and is now 2", "step 4: seed was 0 and is now 1"]
    assert "epochs: 2" in (folder / "config.yaml").read_text()
    saved = json.loads((folder / "checkpoints" / "step-00000016" / PROVENANCE).read_text())
    assert saved["changes"] == summary["changes"]
    run("--resume", folder)


def test_resume_anyway_needs_resume(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resume-anyway", "--epochs", "1"]) == 2
    assert capsys.readouterr().err == "error: --resume-anyway: names no run; add --resume RUN or --resume auto\n"


class TestMetrics:
    """metrics.jsonl keeps every intact line when a run is resumed."""

    @staticmethod
    def prepare(folder: Path, lines: list[str], step: int) -> tuple[list[dict[str, float]], list[str]]:
        run, reports = RunFolder(folder), []
        run.metrics.write_text("".join(lines))
        run.prepare_resuming(compose(["--epochs", "30"]), step, reports.append)
        return list(run.read_metrics()), reports

    def test_damaged_lines_are_reported_and_the_others_kept(self, tmp_path: Path) -> None:
        lines = ['{"step": 1}\n', '{"step": 2, "lo\n', "7\n", '{"step": "3"}\n', '{"step": 4}\n', '{"step": 5}\n']
        records, reports = self.prepare(tmp_path, lines, step=4)
        assert records == [{"step": 1}, {"step": 4}]
        assert reports == [f"{tmp_path}/metrics.jsonl: dropped 3 damaged of 6 lines, first line 2"]

    def test_last_line_of_a_crash_is_dropped_without_a_report(self, tmp_path: Path) -> None:
        assert self.prepare(tmp_path, ['{"step": 1}\n', '{"step": 2'], step=2) == ([{"step": 1}], [])

    def test_line_that_is_not_text_is_damaged(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        run.metrics.write_bytes(b'{"step": 1}\n\xff\xfe\n{"step": 2}\n')
        assert [record["step"] for record in run.read_metrics()] == [1, 2]

    def test_unchanged_metrics_are_not_written_again(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        run.metrics.write_text('{"step": 1}\n')
        before = run.metrics.stat().st_ino
        run.prepare_resuming(compose(["--epochs", "30"]), 1, pytest.fail)
        assert run.metrics.stat().st_ino == before

    def test_disk_that_cannot_be_written_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("sslzoo.training.folder.write_text", refuse)
        with pytest.raises(UserError, match=r"--resume .*: cannot be written: No space left on device"):
            self.prepare(tmp_path, ['{"step": 9}\n'], step=1)
