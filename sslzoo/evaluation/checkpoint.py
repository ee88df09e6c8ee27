"""Checkpoints of classifiers in training, from which the same command resumes after an interruption."""

import logging
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sslzoo.data.images import digest

log = logging.getLogger(__name__)

SAVE_SECONDS = 30
"""Time between two checkpoints of a classifier."""


class ClassifierCheckpoints:
    """Checkpoints of the classifiers of one encoder, each in a file named by a digest of its settings.

    The order of images and their views are functions of seed and step, so a resumed training is bit-identical to an
    uninterrupted one.

    Args:
        folder: folder of the files.
        key: digest of encoder, images and transform.
    """

    def __init__(self, folder: Path, key: str, accelerator: Accelerator) -> None:
        self.folder, self.key, self.accelerator = folder, key, accelerator
        self._opened: set[Path] = set()

    def open(self, *settings: str | bytes) -> "ClassifierCheckpoint":
        """Open the checkpoint of a training.

        Args:
            settings: everything that distinguishes it from other trainings with this encoder and these images.
        """
        file = self.folder / f"{digest(self.key, str(self.accelerator.num_processes), *settings)}.pt"
        self._opened.add(file)
        return ClassifierCheckpoint(file, self.accelerator)

    def delete_opened(self) -> None:
        """Delete all opened checkpoints; called by all processes after the results have been written."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for file in self._opened:
                file.unlink(missing_ok=True)
        self._opened.clear()


class ClassifierCheckpoint:
    """The checkpoint of one training."""

    def __init__(self, file: Path, accelerator: Accelerator) -> None:
        self.file, self.accelerator = file, accelerator
        self._started_at = self._saved_at = time.monotonic()

    def load(self) -> tuple[int, dict[str, Any]]:
        """Load the number of steps and the state; (0, {}) if there is no readable checkpoint."""
        self.accelerator.wait_for_everyone()
        try:
            content = torch.load(self.file, map_location=self.accelerator.device, weights_only=True)
            return content["step"], content["state"]
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
            return 0, {}

    def save_if_due(self, step: int, get_state: Callable[[], dict[str, Any]]) -> None:
        """Save the state after `step` steps, at most every `SAVE_SECONDS`."""
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._write(step, get_state())

    def save_finished(self, step: int, get_state: Callable[[], dict[str, Any]]) -> None:
        """Save the state of a finished training if it took at least `SAVE_SECONDS`."""
        if time.monotonic() - self._started_at >= SAVE_SECONDS:
            self._write(step, get_state())

    def _write(self, step: int, state: dict[str, Any]) -> None:
        """Write to a temporary file and rename it; a write error is logged, since results do not depend on the file."""
        self._saved_at = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        temporary = self.file.with_suffix(".tmp")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"step": step, "state": state}, temporary)
            temporary.replace(self.file)
        except (OSError, RuntimeError) as error:
            log.warning("%s: cannot be written: %s; an interrupted training starts again", self.file, error)
            temporary.unlink(missing_ok=True)
