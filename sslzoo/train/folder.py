"""The folder of a run: what it holds and under which names."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import torch

import sslzoo
from sslzoo.errors import UserError
from sslzoo.experiment import Experiment


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
                path = _fresh(experiment)
            else:
                path.mkdir(parents=True, exist_ok=True)
                if any(path.iterdir()):
                    raise UserError(
                        f"--run-folder {path}: is not empty; --resume {path} goes on with a run that is there"
                    )
            folder = cls(path)
            folder.config.write_text(experiment.as_yaml(), encoding="utf-8")
            folder.environment.write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")
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


def _fresh(experiment: Experiment) -> Path:
    parts = [experiment.method, experiment.target, experiment.dataset]
    names = [getattr(part, "name", None) for part in parts]
    stem = "-".join(name for name in names if name) + datetime.now().strftime("-%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        path = experiment.output / (stem + suffix)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if path.parent.is_dir():
                continue
            raise
        return path
    raise UserError(f"--output {experiment.output}: a hundred runs of this second are there already")


def environment() -> dict[str, Any]:
    """What a result depends on besides the config."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device_name(),
        "cores": os.cpu_count(),
        "packages": {package.name: package.version for package in sorted(distributions(), key=_name)},
    }


def _name(package: Distribution) -> str:
    return package.name.lower()


def device_name() -> str:
    """What the accelerator, or else the processor, calls itself."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"


def commit() -> str | None:
    """The commit of the checkout that sslzoo runs from, `-dirty` behind it when files differ; None elsewhere."""
    checkout = Path(sslzoo.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
