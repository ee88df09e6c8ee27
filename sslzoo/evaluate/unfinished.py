"""Interrupted trainings of an evaluation, which the same command resumes."""

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

SECONDS = 30
"""Time between two states that are written."""


class Unfinished:
    """Where the states of trainings are kept, by all that they depend on.

    The order of images and their views are functions of seed and step, so that a resumed training is the one
    that was never stopped.

    Args:
        folder: of the states.
        key: digest of encoder, images and transform.
    """

    def __init__(self, folder: Path, key: str, accelerator: Accelerator) -> None:
        self.folder, self.key, self.accelerator = folder, key, accelerator
        self._used: set[Path] = set()

    def training(self, *what: str | bytes) -> "UnfinishedTraining":
        """One training.

        Args:
            what: settings that distinguish it from other trainings of this encoder on these images.
        """
        file = self.folder / f"{digest(self.key, str(self.accelerator.num_processes), *what)}.pt"
        self._used.add(file)
        return UnfinishedTraining(file, self.accelerator)

    def forget(self) -> None:
        """Drop the states, once what they were for is written."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for file in self._used:
                file.unlink(missing_ok=True)
        self._used.clear()


class UnfinishedTraining:
    """The state of one training."""

    def __init__(self, file: Path, accelerator: Accelerator) -> None:
        self.file, self.accelerator = file, accelerator
        self._began = self._saved = time.monotonic()

    def load(self) -> tuple[int, dict[str, Any]]:
        """(steps done, state) of last time; (0, {}) where there is none, or none that can be read."""
        self.accelerator.wait_for_everyone()
        try:
            content = torch.load(self.file, map_location=self.accelerator.device, weights_only=True)
            return content["step"], content["state"]
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
            return 0, {}

    def save(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state, if it is time to."""
        if time.monotonic() - self._saved >= SECONDS:
            self._write(step, state())

    def finish(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state of a training that is over, if it took long."""
        if time.monotonic() - self._began >= SECONDS:
            self._write(step, state())

    def _write(self, step: int, state: dict[str, Any]) -> None:
        """Aside and renamed; what cannot be written is let go, as nothing but time depends on it."""
        self._saved = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        aside = self.file.with_suffix(".tmp")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"step": step, "state": state}, aside)
            aside.replace(self.file)
        except (OSError, RuntimeError) as error:
            log.warning("%s: cannot be written: %s; an interruption would cost this training", self.file, error)
            aside.unlink(missing_ok=True)
