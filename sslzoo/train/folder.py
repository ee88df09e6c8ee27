"""The folder of a run: what it holds and under which names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sslzoo.environment import environment
from sslzoo.errors import UserError
from sslzoo.experiment import Experiment
from sslzoo.folders import fresh_folder, write_json


class RunFolder:
    """Paths of a run's files, and the reading and writing of its metrics."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.backbone = path / "backbone.safetensors"
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, experiment: Experiment) -> "RunFolder":
        """A new folder with the config and the environment in it.

        Raises:
            UserError: the folder holds something already, or cannot be made.
        """
        path = experiment.run_folder
        try:
            if path is None:
                parts = [experiment.method, experiment.target, experiment.dataset]
                names = [getattr(part, "name", None) for part in parts]
                path = fresh_folder(experiment.output, "-".join(name for name in names if name))
            else:
                path.mkdir(parents=True, exist_ok=True)
                if any(path.iterdir()):
                    raise UserError(
                        f"--run-folder {path}: is not empty; --resume {path} goes on with a run that is there"
                    )
            folder = cls(path)
            folder.config.write_text(experiment.as_yaml(), encoding="utf-8")
            write_json(folder.environment, environment())
        except OSError as error:
            raise UserError(f"--run-folder {path or experiment.output}: cannot be written: {error.strerror}") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The folder of an earlier run.

        Raises:
            UserError: it is not a run's.
        """
        folder = cls(path)
        if not folder.config.is_file():
            raise UserError(f"--resume {path}: no run is there (it has no config.yaml)")
        return folder

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line that a crash cut off is left out."""
        if not self.metrics.is_file():
            return
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return

    def forget_after(self, step: int) -> None:
        """Drop the metrics that a run resumed at this step will find again: of later steps, and this step's kNN."""
        kept = [r for r in self.records() if r["step"] < step or (r["step"] == step and "knn" not in r)]
        aside = self.metrics.with_suffix(".tmp")
        aside.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        aside.replace(self.metrics)
