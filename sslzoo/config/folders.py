"""Create folders and files of results."""

import re
from datetime import datetime
from pathlib import Path

from sslzoo.runtime.errors import UserError


def slugify(name: str) -> str:
    """Convert a name to a part of a file or folder name."""
    return re.sub(r"[^\w.=+-]+", "-", name)


def create_result_folder(output: Path, stem: str) -> Path:
    """Create a new folder below `output`, named by the stem and the time.

    Raises:
        UserError: a hundred folders of this second exist.
        OSError: the folder cannot be created.
    """
    stem = slugify(stem) + datetime.now().strftime("-%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        path = output / (stem + suffix)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if path.parent.is_dir():
                continue
            raise
        return path
    raise UserError(f"--output {output}: a hundred results of this second exist already")


def find_newest_weights(run: Path) -> Path | None:
    """Return the weights of the newest checkpoint in a run folder; None if there is none."""
    return max((run / "checkpoints").glob("step-*/model.safetensors"), default=None)
