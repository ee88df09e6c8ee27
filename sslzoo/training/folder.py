"""The folder of a run and its files."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sslzoo.config.folders import create_result_folder
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.environment import environment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import hash_files, write_json, write_text


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
            write_text(folder.config, experiment.as_yaml())
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
        """Lock the folder against other runs until `unlock` or the end of this process, if locks are supported.

        Raises:
            UserError: another run has locked it.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(f"{self.path}: another run is writing to this folder; wait until it has ended") from None
        except (OSError, NotImplementedError):
            return

    def unlock(self) -> None:
        """Let other runs lock the folder."""
        self._lock.release(force=True)

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

    def hash_outputs(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the finished run, except summary.json, which contains them."""
        files = (path for path in self.path.iterdir() if path.is_file() and not path.name.startswith("."))
        return hash_files(path for path in files if path != self.summary and path.suffix != ".tmp")

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Iterate over the intact lines of metrics.jsonl."""
        for line in self._read_metrics_lines():
            if (record := parse_metrics(line)) is not None:
                yield record

    def prepare_resuming(self, experiment: Experiment, step: int, report: Callable[[str], None]) -> None:
        """Write the config if settings have changed, and drop the metrics that a run resumed at this step logs again.

        These are the metrics of later steps, and kNN of this step. Damaged lines of metrics.jsonl are dropped as well.

        Args:
            report: called with a line about damaged lines.

        Raises:
            UserError: a file cannot be written.
        """
        try:
            if self.config.is_file() and self.config.read_text(encoding="utf-8") != experiment.as_yaml():
                write_text(self.config, experiment.as_yaml())
            self._drop_metrics_after(step, report)
        except OSError as error:
            raise UserError(f"--resume {self.path}: cannot be written: {error.strerror or error}") from error

    def _drop_metrics_after(self, step: int, report: Callable[[str], None]) -> None:
        lines = self._read_metrics_lines()
        records = [parse_metrics(line) for line in lines]
        damaged = [number for number, record in enumerate(records, start=1) if record is None and number < len(lines)]
        if damaged:
            report(f"{self.metrics}: dropped {len(damaged)} damaged of {len(lines)} lines, first line {damaged[0]}")
        kept = [
            line
            for line, record in zip(lines, records, strict=True)
            if record is not None and (record["step"] < step or (record["step"] == step and "knn" not in record))
        ]
        if kept != lines:
            write_text(self.metrics, b"".join(kept).decode())

    def _read_metrics_lines(self) -> list[bytes]:
        return self.metrics.read_bytes().splitlines(keepends=True) if self.metrics.is_file() else []


def parse_metrics(line: bytes) -> dict[str, Any] | None:
    """Parse a line of metrics.jsonl; None if it is damaged, or a crash truncated it."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    complete = line.endswith(b"\n") and isinstance(record, dict) and isinstance(record.get("step"), int)
    return record if complete else None
