"""Checkpoints of a run: written aside, checksummed and renamed, so that what bears the name is whole."""

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError

from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.train.monitor import IntervalMeans

CHECKSUMS = "checksums.json"
"""File of a checkpoint that holds the SHA-256 of all others, by name."""

UNWRITABLE = (OSError, RuntimeError, SafetensorError)
"""What a full disk or a read-only folder shows as, depending on who writes."""


class Checkpoints:
    """The checkpoints in a folder, `step-00000120` and so on; methods are called by all processes."""

    def __init__(self, accelerator: Accelerator, folder: Path, means: IntervalMeans, keep: int) -> None:
        """
        Args:
            means: of the interval under way, which each process saves as well.
            keep: how many of the newest are kept.
        """
        self.accelerator = accelerator
        self.folder = folder
        self.means = means
        self.keep = keep

    def save(self, step: int, best: int | None = None) -> str | None:
        """Save model, optimizer, scaler and random states after `step` optimizer steps, and remove old checkpoints.

        The order of images, the views and the schedule are functions of seed and step, and need no state.

        Args:
            best: the step of one that is kept though it is old.

        Returns:
            Why it could not be written, the same on all processes; None where it was.
        """
        path, temporary = self.folder / f"step-{step:08d}", self.folder / f"writing-{step:08d}"
        if path.is_dir():
            return None
        reason = (
            self._try_to_write(lambda: _make_empty(temporary), main_only=True)
            or self._try_to_write(lambda: self._write(temporary))
            or self._try_to_write(lambda: _seal(temporary, path), main_only=True)
        )
        if reason is not None:
            self._try_to_write(lambda: shutil.rmtree(temporary), main_only=True)
            return reason
        self._try_to_write(lambda: self._remove_old(best), main_only=True)
        return None

    def _try_to_write(self, work: Callable[[], object], *, main_only: bool = False) -> str | None:
        """Do something; the reason of the first process on which it failed, None if it failed on none."""
        reason = None
        if self.accelerator.is_main_process or not main_only:
            try:
                work()
            except UNWRITABLE as error:
                message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                reason = " ".join(message.split())
        return next((reason for reason in gather_object([reason]) if reason is not None), None)

    def _write(self, temporary: Path) -> None:
        self.accelerator.save_state(str(temporary))
        torch.save(self.means.state_dict(), temporary / f"means_{self.accelerator.process_index}.pt")

    def _remove_old(self, best: int | None) -> None:
        old = [path for step, path in _named(self.folder)[: -self.keep] if step != best]
        for path in old:
            shutil.rmtree(path)

    def newest(self) -> int:
        """The step of the newest one, 0 where there is none."""
        return max((step for step, _ in _named(self.folder)), default=0)

    def load_newest(self, report: Callable[[str], None]) -> int:
        """Load the newest whole checkpoint into what the accelerator prepared; its step, 0 where there is none.

        Args:
            report: called with a line for each damaged checkpoint that is skipped.

        Raises:
            UserError: all are damaged, or a whole one is not of this method and backbone.
        """
        step = run_on_main_process(self.accelerator, lambda: self._newest_whole(report))
        if step:
            path = self.folder / f"step-{step:08d}"
            try:
                self.accelerator.load_state(str(path))
                states = [torch.load(file, weights_only=True) for file in sorted(path.glob("means_*.pt"), key=_number)]
                self.means.load_state_dicts(states, self.accelerator.process_index, self.accelerator.device)
            except pickle.UnpicklingError as error:
                raise UserError(
                    f"{path}: holds more than tensors and plain values, which could run code and is never loaded"
                ) from error
            except Exception as error:  # what does not fit shows in as many ways as there are formats
                raise UserError(f"{path}: cannot be loaded: {' '.join(str(error).split())}") from error
        return step

    def _newest_whole(self, report: Callable[[str], None]) -> int:
        for temporary in self.folder.glob("writing-*"):
            shutil.rmtree(temporary, ignore_errors=True)
        named = _named(self.folder)
        damages = {path: find_damage(path) for _, path in reversed(named)}
        whole = [step for step, path in named if damages[path] is None]
        if named and not whole:
            raise UserError(
                f"{self.folder}: no checkpoint is whole ({named[-1][1].name}: {damages[named[-1][1]]}); "
                "without this folder the run starts from the beginning"
            )
        for step, path in named:
            if step > whole[-1]:
                report(f"{path.name}: {damages[path]}; going on from step {whole[-1]}")
                path.rename(path.with_name(f"damaged-{path.name}"))
        return whole[-1] if whole else 0


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, by their checksums; None for nothing."""
    try:
        sums = json.loads((checkpoint / CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
            if _sha256(checkpoint / name) != expected:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError) as error:
        return f"{CHECKSUMS} or what it names cannot be read: {' '.join(str(error).split())}"
    return None


def _make_empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _seal(temporary: Path, path: Path) -> None:
    """Note the checksums, see everything on the disk, and give the folder its name."""
    files = sorted(file for file in temporary.rglob("*") if file.is_file())
    sums = {file.relative_to(temporary).as_posix(): _sha256(file) for file in files}
    (temporary / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    for place in (*files, temporary / CHECKSUMS, temporary):
        _flush(place)
    temporary.rename(path)
    _flush(path.parent)


def _flush(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _named(folder: Path) -> list[tuple[int, Path]]:
    found = [(re.fullmatch(r"step-(\d+)", path.name), path) for path in folder.glob("step-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def _number(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])
