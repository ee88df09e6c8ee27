"""The folder of a run and its files."""

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
    """Paths of a run's files; reads and writes its metrics."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.backbone = path / "backbone.safetensors"
        self.checkpoints = path / "checkpoints"
        self.augmentations = path / "augmentations.png"
        self._pending_lines: list[str] = []
        self._lock = FileLock(path / ".lock", timeout=0)

    @staticmethod
    def name_prefix(experiment: Experiment) -> str:
        """Return the first part of the names of run folders: method, target and data set."""
        parts = [experiment.method, experiment.target, experiment.dataset]
        names = [getattr(part, "name", None) for part in parts]
        return "-".join(name for name in names if name)

    @classmethod
    def create(cls, experiment: Experiment) -> "RunFolder":
        """Create a run folder and write the config and the environment into it.

        Raises:
            UserError: the folder is not empty, or cannot be created.
        """
        path = experiment.run_folder
        try:
            if path is None:
                path = create_result_folder(experiment.output, cls.name_prefix(experiment))
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
        """Open the folder of an earlier run.

        Raises:
            UserError: it is not a run folder.
        """
        folder = cls(path)
        if not folder.config.is_file():
            raise UserError(f"--resume {path}: not a run folder (it has no config.yaml)")
        return folder

    def lock(self) -> None:
        """Lock the folder against other runs until this process ends, if the file system supports locks.

        Raises:
            UserError: another run has locked it.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(f"{self.path}: another run is writing to this folder; wait until it has ended") from None
        except (OSError, NotImplementedError):
            return

    def append_metrics(self, record: dict[str, Any]) -> str | None:
        """Append a line to metrics.jsonl; if it cannot be written, keep it and write it with the next line.

        Returns:
            Why it could not be written; None if it was written.
        """
        self._pending_lines.append(json.dumps(record) + "\n")
        lines = "".join(self._pending_lines).encode()
        try:
            with self.metrics.open("ab", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                if file.write(lines) < len(lines):
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            return error.strerror
        self._pending_lines.clear()
        return None

    def find_best_step(self) -> int | None:
        """Return the step with the best kNN accuracy, the first one on ties; None before the first kNN evaluation."""
        scored = [(record["knn"], -record["step"]) for record in self.read_metrics() if "knn" in record]
        return -max(scored)[1] if scored else None

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Iterate over the lines of metrics.jsonl, except a last line that a crash truncated."""
        if not self.metrics.is_file():
            return
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return

    def drop_metrics_after(self, step: int) -> None:
        """Drop the metrics that a run resumed at this step logs again: those of later steps, and kNN of this step."""
        kept = [r for r in self.read_metrics() if r["step"] < step or (r["step"] == step and "knn" not in r)]
        temporary = self.metrics.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        temporary.replace(self.metrics)
