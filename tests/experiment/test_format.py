"""Config files of older and newer versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sslzoo.cli import main
from sslzoo.experiment.compose import compose
from sslzoo.experiment.format import FORMAT, upgrade
from sslzoo.runtime.errors import UserError

CONFIGS = sorted((Path(__file__).parent / "configs").glob("format-*.yaml"))
"""Files `config.yaml` as older versions of sslzoo wrote them."""

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


def flatten(layer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each setting."""
    for key, value in layer.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_config_of_an_older_run_composes_to_the_same_settings(file: Path) -> None:
    settings = dict(flatten(compose(["--config", str(file)]).settings()))
    saved = dict(flatten(upgrade(yaml.safe_load(file.read_text(encoding="utf-8")), str(file))))
    assert len(saved) > 150
    assert {name: settings.get(name) for name in saved} == saved


def test_there_is_a_config_of_each_format() -> None:
    formats = {yaml.safe_load(file.read_text(encoding="utf-8")).get("format", 1) for file in CONFIGS}
    assert formats == set(range(1, FORMAT + 1))


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


def test_written_config_contains_its_format() -> None:
    experiment = compose(["--method", "byol"])
    layer = yaml.safe_load(experiment.as_yaml())
    assert layer["format"] == FORMAT
    assert "format" not in upgrade(layer, "config.yaml")


def test_old_name_in_a_file_of_the_current_format_is_an_error(tmp_path: Path) -> None:
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
def test_unreadable_format_is_a_one_line_error(
    version: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"format: {version}\n")
    assert main(["--config", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file}: {message}\n"


@pytest.mark.parametrize("resume", ["RUN", "auto"])
def test_run_of_an_older_version_is_not_resumed(
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
