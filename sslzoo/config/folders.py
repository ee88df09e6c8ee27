"""Create folders and files of results."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON to a temporary file and rename it, so that the file is always complete."""
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
