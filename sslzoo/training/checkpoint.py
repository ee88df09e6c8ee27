"""Checkpoints of a run, written to a temporary folder, checksummed and renamed, so that each one is complete."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError

from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import file_sha256, flush
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.provenance import Provenance, find_differences, join_differences

CHECKSUMS = "checksums.json"
"""File in a checkpoint that maps the name of each other file to its SHA-256."""

PROVENANCE = "provenance.json"
"""File in a checkpoint with its step and what it was trained with."""

WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
"""Errors that a full disk or a read-only folder raises, depending on the library that writes."""


class Checkpoints:
    """The checkpoints in a folder, `step-00000120` and so on; all processes call each method."""

    def __init__(
        self, accelerator: Accelerator, folder: Path, means: IntervalMeans, provenance: Provenance, keep: int
    ) -> None:
        """
        Args:
            means: means of the current interval, which each process saves and loads as well.
            provenance: what the run is trained with, which each checkpoint contains.
            keep: number of the newest checkpoints to keep.
        """
        self.accelerator = accelerator
        self.folder = folder
        self.means = means
        self.provenance = provenance
        self.keep = keep

    def save(self, step: int, best: int | None = None) -> str | None:
        """Save model, optimizer, scaler and random states after `step` optimizer steps, and delete old checkpoints.

        The order of images, the views and the schedule are functions of seed and step and have no state.

        Args:
            best: step of a checkpoint to keep in addition to the newest.

        Returns:
            Why the checkpoint could not be written, the same on all processes; None if it was written.
        """
        path, temporary = self.folder / f"step-{step:08d}", self.folder / f"writing-{step:08d}"
        if path.is_dir():
            return None
        reason = (
            self._try_write(lambda: _create_empty(temporary), main_only=True)
            or self._try_write(lambda: self._write(temporary))
            or self._try_write(lambda: self._write_provenance(temporary, step), main_only=True)
            or self._try_write(lambda: _checksum_and_rename(temporary, path), main_only=True)
        )
        if reason is not None:
            self._try_write(lambda: shutil.rmtree(temporary), main_only=True)
            return reason
        self._try_write(lambda: self._delete_old(best), main_only=True)
        return None

    def _try_write(self, write: Callable[[], object], *, main_only: bool = False) -> str | None:
        """Call `write` and return the reason of the first process on which it failed; None if it failed on none."""
        reason = None
        if self.accelerator.is_main_process or not main_only:
            try:
                write()
            except WRITE_ERRORS as error:
                message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                reason = " ".join(message.split())
        return next((reason for reason in gather_object([reason]) if reason is not None), None)

    def _write(self, temporary: Path) -> None:
        self.accelerator.save_state(str(temporary))
        torch.save(self.means.state_dict(), temporary / f"means_{self.accelerator.process_index}.pt")

    def _write_provenance(self, temporary: Path, step: int) -> None:
        content = {"step": step, **self.provenance.as_dict()}
        (temporary / PROVENANCE).write_text(json.dumps(content) + "\n", encoding="utf-8")

    def _delete_old(self, best: int | None) -> None:
        old = [path for step, path in _list_checkpoints(self.folder)[: -self.keep] if step != best]
        for path in old:
            shutil.rmtree(path)

    def newest_step(self) -> int:
        """Return the step of the newest checkpoint; 0 if there is none."""
        return max((step for step, _ in _list_checkpoints(self.folder)), default=0)

    def load_newest(self, report: Callable[[str], None], *, anyway: bool = False) -> int:
        """Load the newest intact checkpoint into the prepared objects and return its step; 0 if there is none.

        Args:
            report: called with a line about each damaged checkpoint that is skipped, and about confirmed changes.
            anyway: load a checkpoint that was trained with other settings or data; `provenance` records the changes.

        Raises:
            UserError: all checkpoints are damaged, or an intact one was trained with other settings or data, or does
                not fit this method and backbone.
        """
        step = run_on_main_process(self.accelerator, lambda: self._find_newest_intact(report))
        if step:
            changes = run_on_main_process(self.accelerator, lambda: self._compare_provenance(step, report, anyway))
            self.provenance = replace(self.provenance, changes=changes)
            path = self.folder / f"step-{step:08d}"
            try:
                self.accelerator.load_state(str(path))
                files = sorted(path.glob("means_*.pt"), key=_process_index)
                states = [torch.load(file, weights_only=True) for file in files]
                self.means.load_state_dicts(states, self.accelerator.process_index, self.accelerator.device)
            except pickle.UnpicklingError as error:
                raise UserError(
                    f"{path}: contains more than tensors and plain values, which could run code and is never loaded"
                ) from error
            except Exception as error:  # each file format raises its own errors
                raise UserError(f"{path}: cannot be loaded: {' '.join(str(error).split())}") from error
        return step

    def _compare_provenance(self, step: int, report: Callable[[str], None], anyway: bool) -> tuple[str, ...]:
        """Compare settings and data with those of a checkpoint; return all changes of the run so far."""
        saved = json.loads((self.folder / f"step-{step:08d}" / PROVENANCE).read_text(encoding="utf-8"))
        differences = find_differences(saved, self.provenance)
        run = self.folder.parent
        if differences and not anyway:
            raise UserError(
                f"--resume {run}: settings or data have changed since step {step}: {join_differences(differences)}; "
                "restore them, or continue with the change by --resume-anyway"
            )
        if differences:
            report(f"resuming with changed settings or data: {join_differences(differences)}")
        return (*saved["changes"], *(f"step {step}: {difference}" for difference in differences))

    def _find_newest_intact(self, report: Callable[[str], None]) -> int:
        for temporary in self.folder.glob("writing-*"):
            shutil.rmtree(temporary, ignore_errors=True)
        checkpoints = _list_checkpoints(self.folder)
        damages = {path: find_damage(path) for _, path in reversed(checkpoints)}
        intact = [step for step, path in checkpoints if damages[path] is None]
        if checkpoints and not intact:
            newest = checkpoints[-1][1]
            raise UserError(
                f"{self.folder}: no checkpoint is intact ({newest.name}: {damages[newest]}); "
                "delete this folder to start the run from the beginning"
            )
        for step, path in checkpoints:
            if step > intact[-1]:
                report(f"{path.name}: {damages[path]}; resuming from step {intact[-1]}")
                with suppress(OSError):  # a read-only folder
                    path.rename(path.with_name(f"damaged-{path.name}"))
        return intact[-1] if intact else 0


def find_damage(checkpoint: Path) -> str | None:
    """Compare a checkpoint's files with their checksums and describe the first difference; None if there is none."""
    try:
        sums = json.loads((checkpoint / CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
            if file_sha256(checkpoint / name) != expected:
                return f"{name} has changed"
        step = json.loads((checkpoint / PROVENANCE).read_text(encoding="utf-8"))["step"]
        if checkpoint.name != f"step-{step:08d}":
            return f"it contains step {step}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return f"{CHECKSUMS} or a file that it lists cannot be read: {' '.join(str(error).split())}"
    return None


def _create_empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _checksum_and_rename(temporary: Path, path: Path) -> None:
    """Write the checksums, flush all files to the disk, and rename the folder."""
    files = sorted(file for file in temporary.rglob("*") if file.is_file())
    sums = {file.relative_to(temporary).as_posix(): file_sha256(file) for file in files}
    (temporary / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    for written in (*files, temporary / CHECKSUMS, temporary):
        flush(written)
    temporary.rename(path)
    flush(path.parent)


def _list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of each checkpoint in a folder, oldest first."""
    found = [(re.fullmatch(r"step-(\d+)", path.name), path) for path in folder.glob("step-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def _process_index(file: Path) -> int:
    """The process that wrote `means_3.pt`: 3."""
    return int(file.stem.rpartition("_")[2])
