"""Folders and files of results."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sslzoo.runtime.errors import UserError


def slug(name: str) -> str:
    """A name as part of a file's or folder's."""
    return re.sub(r"[^\w.=+-]+", "-", name)


def fresh_folder(output: Path, stem: str) -> Path:
    """Make a new folder below `output`, named by the stem and the time.

    Raises:
        UserError: there are too many of this second.
        OSError: it cannot be made.
    """
    stem = slug(stem) + datetime.now().strftime("-%Y%m%d-%H%M%S")
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
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)
