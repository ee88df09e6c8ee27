"""Write files so that a crash leaves the old or the new content, and detect damaged ones."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def flush(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary file and rename it, so that the file is always complete."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(content)
    replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON as `write_text` does."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write rows as a CSV file in UTF-8; a text that spreadsheets would run as a formula starts with an apostrophe."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([_escape_formula(cell) for cell in row] for row in rows)


def _escape_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def replace(partial: Path, path: Path) -> None:
    """Rename a complete file, flushed to the disk, to its final name."""
    flush(partial)
    partial.replace(path)
    flush(path.parent)
