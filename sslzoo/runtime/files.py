"""Write files so that a crash leaves the old or the new content, and detect damaged ones."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sslzoo.runtime.errors import UserError


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


def hash_files(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name, in the order of names."""
    return {path.name: file_sha256(path) for path in sorted(paths)}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file cannot be read as JSON, or contains something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: contains a {type(content).__name__}, not a mapping")
    return content


def require_unchanged(record: Path, *names: str) -> None:
    """Compare files with their SHA-256 in a JSON file beside them, under `sha256`; files without one are not checked.

    Raises:
        UserError: a file has changed or cannot be read, or the JSON file is damaged.
    """
    if not record.is_file():
        return
    sums = read_json(record).get("sha256", {})
    for name in names:
        path = record.with_name(name)
        try:
            changed = name in sums and file_sha256(path) != sums[name]
        except (OSError, TypeError) as error:
            raise UserError(f"{path}: cannot be compared with its checksum in {record.name}: {error}") from None
        if changed:
            raise UserError(
                f"{path}: has changed since it was written (SHA-256 differs from {record.name}); restore it, or write "
                f"the outputs again with --resume {record.parent}"
            )


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
