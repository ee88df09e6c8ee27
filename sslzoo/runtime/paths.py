"""Paths in files that people share."""

import re
from pathlib import Path


def shorten_paths(text: str) -> str:
    """Replace the working folder in a text by `.` and the home folder, which often contains the user's name, by `~`."""
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if folder != Path(folder.anchor):
            text = re.sub(rf"(?<![\w./-]){re.escape(str(folder))}(?![\w.-])", short, text)
    return text
