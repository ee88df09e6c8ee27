"""Checkpoints of a run: written aside and renamed, so that what bears the name is whole."""

import re
import shutil
from pathlib import Path

from accelerate import Accelerator

from sslzoo.errors import UserError

KEEP = 2


def save(accelerator: Accelerator, folder: Path, step: int) -> Path:
    """Save model, optimiser, scaler and random states after `step` optimiser steps; all processes call it.

    The order of pictures, the views and the schedule are functions of seed and step, and need no state.
    """
    path, aside = folder / f"step-{step:08d}", folder / f"writing-{step:08d}"
    if path.is_dir():
        return path
    if accelerator.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        aside.rename(path)
        for _, old in _whole(folder)[:-KEEP]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return path


def load_latest(accelerator: Accelerator, folder: Path) -> int:
    """Load the newest checkpoint into what the accelerator prepared, and return its step; 0 where there is none.

    Raises:
        UserError: the checkpoint cannot be read.
    """
    whole = _whole(folder)
    if not whole:
        return 0
    step, path = whole[-1]
    try:
        accelerator.load_state(str(path))
    except Exception as error:  # a damaged file shows in as many ways as there are formats
        raise UserError(
            f"{path}: cannot be loaded: {' '.join(str(error).split())}; remove it to use the one before"
        ) from error
    return step


def _whole(folder: Path) -> list[tuple[int, Path]]:
    found = [(re.fullmatch(r"step-(\d+)", path.name), path) for path in folder.glob("step-*")]
    return sorted((int(match[1]), path) for match, path in found if match)
