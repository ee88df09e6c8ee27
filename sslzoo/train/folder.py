"""The folder of a run: what it holds and under which names."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sslzoo.config.folders import create_result_folder
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.environment import environment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import write_json


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
        self._unwritten: list[str] = []
        self._lock = FileLock(path / ".lock", timeout=0)

    @staticmethod
    def stem(experiment: Experiment) -> str:
        """What names of run folders begin with."""
        parts = [experiment.method, experiment.target, experiment.dataset]
        names = [getattr(part, "name", None) for part in parts]
        return "-".join(name for name in names if name)

    @classmethod
    def create(cls, experiment: Experiment) -> "RunFolder":
        """A new folder with the config and the environment in it.

        Raises:
            UserError: the folder holds something already, or cannot be made.
        """
        path = experiment.run_folder
        try:
            if path is None:
                path = create_result_folder(experiment.output, cls.stem(experiment))
            else:
                path.mkdir(parents=True, exist_ok=True)
                if any(path.iterdir()):
                    raise UserError(f"--run-folder {path}: is not empty; --resume {path} resumes a run in it")
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
            raise UserError(f"--resume {path}: not a run folder (it has no config.yaml)")
        return folder

    def lock(self) -> None:
        """Keep other runs from writing here until this process ends, where the file system has locks.

        Raises:
            UserError: another run is writing here.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(f"{self.path}: another run is writing there; it has to end first") from None
        except (OSError, NotImplementedError):
            return

    def log(self, record: dict[str, Any]) -> str | None:
        """Add a line to metrics.jsonl; one that cannot be written is kept, and goes there with the next.

        Returns:
            Why it could not be written; None where it was.
        """
        self._unwritten.append(json.dumps(record) + "\n")
        lines = "".join(self._unwritten).encode()
        try:
            with self.metrics.open("ab", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                if file.write(lines) < len(lines):
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            return error.strerror
        self._unwritten.clear()
        return None

    def best_step(self) -> int | None:
        """The step of the best kNN so far, the first of equal ones; None before the first kNN."""
        scored = [(record["knn"], -record["step"]) for record in self.records() if "knn" in record]
        return -max(scored)[1] if scored else None

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
