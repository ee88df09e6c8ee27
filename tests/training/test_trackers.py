"""Each tracker receives the metrics of a run, without a network; one that is not installed is refused in one line."""

import json
import sqlite3
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_command import MOCO, TINY, run


def find_tensorboard(folder: Path, home: Path) -> bool:
    return bool(list((folder / "sslzoo").glob("events.out.tfevents.*")))


def find_wandb(folder: Path, home: Path) -> bool:
    (log,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    content = log.read_bytes()
    return b"embedding_std" in content and folder.name.encode() in content


def find_trackio(folder: Path, home: Path) -> bool:
    with sqlite3.connect(home / "trackio" / "sslzoo.db") as database:
        rows = database.execute("SELECT run_name, metrics FROM metrics").fetchall()
    return {name for name, _ in rows} == {folder.name} and any("embedding_std" in str(metrics) for _, metrics in rows)


def find_mlflow(folder: Path, home: Path) -> bool:
    with sqlite3.connect(home / "mlflow.db") as database:
        keys = {key for (key,) in database.execute("SELECT DISTINCT key FROM metrics")}
        names = {name for (name,) in database.execute("SELECT name FROM runs")}
    return {"loss", "knn", "embedding_std"} <= keys and names == {folder.name}


FINDERS: dict[str, Callable[[Path, Path], bool]] = {
    "tensorboard": find_tensorboard,
    "wandb": find_wandb,
    "trackio": find_trackio,
    "mlflow": find_mlflow,
}
"""Whether the metrics of a run are where each tracker writes them."""


@pytest.mark.long
@pytest.mark.parametrize("tracker", FINDERS)
def test_tracker_receives_the_metrics_offline(tracker: str, tmp_path: Path) -> None:
    if find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home), "WANDB_MODE": "offline", "TRACKIO_DIR": str(home / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
    }  # fmt: skip
    folder = tmp_path / "my run"
    run("--epochs", "1", "--tracker", tracker, "--run-folder", folder, *TINY, *MOCO, **environment)
    assert FINDERS[tracker](folder, home)
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 1


def test_missing_tracker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import tracking

    from sslzoo.experiment.compose import compose
    from sslzoo.runtime.errors import UserError
    from sslzoo.training import setup

    monkeypatch.setattr(setup, "get_available_trackers", lambda: [tracking.LoggerType.TENSORBOARD])
    setup.require_trackers(compose(["--tracker", "tensorboard"]))
    with pytest.raises(UserError, match=r"--tracker mlflow: not installed; `pip install mlflow`"):
        setup.require_trackers(compose(["--tracker", "mlflow"]))
