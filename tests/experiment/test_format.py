"""Config files of older and newer versions."""

from pathlib import Path

import pytest
import yaml

from sslzoo.cli import main
from sslzoo.experiment.compose import compose
from sslzoo.experiment.format import FORMAT, upgrade
from sslzoo.runtime.errors import UserError

OLD = """
views:
  strong: {grey: 0.4}
compile_views: false
knn_pictures: 321
dataset: {name: digits, unlabelled: true}
evaluation:
  linear: {standardise: false}
by_method:
  moco:
    views: {weak: {grey: 0.3}}
"""


def test_settings_of_format_1_have_their_new_names(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(OLD)
    experiment = compose(["--method", "moco", "--config", str(file)])
    assert experiment.augmentations.strong.grayscale == 0.4
    assert experiment.augmentations.weak.grayscale == 0.3
    assert experiment.compile_augmentations is False
    assert experiment.knn_images == 321
    assert experiment.dataset.unlabeled is True
    assert experiment.evaluation.linear.standardize is False


def test_a_written_config_has_its_format_and_is_read_again() -> None:
    experiment = compose(["--method", "byol"])
    layer = yaml.safe_load(experiment.as_yaml())
    assert layer["format"] == FORMAT
    assert "format" not in upgrade(layer, "config.yaml")


def test_old_names_are_unknown_in_a_file_of_the_present_format(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(f"format: {FORMAT}\nknn_pictures: 3\n")
    with pytest.raises(UserError, match="knn_pictures: no such setting; did you mean knn_images"):
        compose(["--config", str(file)])


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("3", "has format 3, written by a newer sslzoo; this version reads formats up to 2"),
        ("new", "format = 'new': must be a whole number"),
    ],
)
def test_a_format_that_cannot_be_read_is_one_line(
    version: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"format: {version}\n")
    assert main(["--config", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file}: {message}\n"


@pytest.mark.parametrize("resume", ["RUN", "auto"])
def test_checkpoints_of_an_older_version_are_not_resumed(
    resume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    layer = yaml.safe_load(compose(["--run-folder", str(run)]).as_yaml())
    del layer["format"]
    (run / "config.yaml").write_text(yaml.safe_dump(layer))
    flags = ["--resume", str(run)] if resume == "RUN" else ["--resume", "auto", "--run-folder", str(run)]
    assert main(flags) == 2
    assert capsys.readouterr().err == (
        f"error: --resume {run}: was written by sslzoo 0.1, whose checkpoints this version cannot resume; "
        f"`evaluate {run}` and `--config {run / 'config.yaml'}` accept it\n"
    )
