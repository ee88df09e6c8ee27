"""A warm-up of a shipped config fits any number of epochs; one that the user chose is refused if it does not."""

from pathlib import Path

import pytest

from sslzoo.evaluation.compose import compose_jobs
from sslzoo.experiment.compose import compose
from sslzoo.experiment.resume import compose_resumed
from sslzoo.runtime.errors import UserError
from sslzoo.training.folder import RunFolder
from sslzoo.training.unfinished import find_unfinished_run

FOLDER = ["--dataset", "folder", "--dataset.path", "images"]


@pytest.mark.parametrize(
    ("flags", "warmup"),
    [
        (["--epochs", "1"], 0.1),
        (["--epochs", "2"], 0.2),
        (["--epochs", "4"], 2),
        ([*FOLDER, "--epochs", "5"], 0.5),
        ([*FOLDER, "--method", "dino", "--epochs", "15"], 1.5),
        ([*FOLDER, "--method", "dino", "--epochs", "20"], 10),
        (["--config", "recipe/adamw", "--epochs", "40"], 4),
        (["--epochs", "4", "--schedule.warmup-epochs", "3"], 3),
    ],
)
def test_shipped_warmup_is_shortened_if_it_takes_over_half_of_training(flags: list[str], warmup: float) -> None:
    experiment = compose(["--method", "ascl", *flags])
    assert experiment.schedule.warmup_epochs == pytest.approx(warmup)
    shortened = warmup < 2 or "recipe/adamw" in flags
    assert (experiment.warmup_note is not None) == shortened
    if experiment.warmup_note is not None:
        assert experiment.warmup_note.startswith(f"{warmup:g} epochs, 10 % of training")
        assert "--schedule.warmup-epochs chooses another" in experiment.warmup_note


@pytest.mark.parametrize(
    "content", ["schedule: {warmup_epochs: 2}", "by_method: {moco: {schedule: {warmup_epochs: 2}}}"]
)
def test_warmup_of_the_user_is_kept_or_refused(content: str, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(content)
    assert compose(["--config", str(own), "--epochs", "3"]).schedule.warmup_epochs == 2
    refused = r"schedule\.warmup_epochs = 2: warm-up must be shorter than training, "
    with pytest.raises(UserError, match=f"{refused}2 epochs"):
        compose(["--config", str(own), "--epochs", "2"])
    for flag in (["--schedule.warmup-epochs", "2"], ["--schedule.warmup_epochs=2"]):
        with pytest.raises(UserError, match=f"{refused}1 epoch$"):
            compose([*flag, "--epochs", "1"])


def test_warmup_of_another_setting_in_an_own_file_is_shortened(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("include: [recipe/small]\nschedule: {warmup_lr: 0.001}\nby_method: digits")
    assert compose(["--config", str(own), "--epochs", "2"]).schedule.warmup_epochs == pytest.approx(0.2)


def test_shortened_warmup_is_in_the_config_and_matches_on_resume(tmp_path: Path) -> None:
    flags = ["--epochs", "3", "--output", str(tmp_path)]
    folder = RunFolder.create(compose(flags))
    assert "warmup_epochs: 0.3" in folder.config.read_text().partition("evaluation:")[0]
    assert find_unfinished_run(compose(flags)) == folder.path
    assert find_unfinished_run(compose([*flags, "--schedule.warmup-epochs", "2"])) is None
    resumed = compose_resumed(folder.path, [])
    assert resumed.schedule.warmup_epochs == pytest.approx(0.3)
    assert resumed.warmup_note is None


def test_warmup_of_fine_tuning_fits_its_epochs(tmp_path: Path) -> None:
    words = ["--backbone", "resnet10t", "--untrained", "--protocol", "fine-tune", "--evaluation.fine-tune.epochs", "2"]
    ((_, job),) = compose_jobs(words)
    assert job.evaluation.fine_tune.schedule.warmup_epochs == pytest.approx(0.2)
    assert job.warmup_note is not None
    assert "--evaluation.fine-tune.schedule.warmup-epochs" in job.warmup_note
    own = tmp_path / "own.yaml"
    own.write_text("evaluation: {fine_tune: {schedule: {warmup_epochs: 2}}}")
    flag = "--evaluation.fine-tune.schedule.warmup-epochs"
    for more in (["--config", str(own)], [flag, "2"]):
        with pytest.raises(UserError, match=r"evaluation\.fine_tune\.schedule\.warmup_epochs = 2: warm-up must be"):
            compose_jobs([*words, *more])
