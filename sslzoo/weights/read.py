"""Read the tensors of a checkpoint of any structure, without unpickling anything that could run code."""

import argparse
import contextlib
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sslzoo.runtime.errors import UserError, join_names

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Entries that contain the only state_dict of a file; they are removed from the tensor names."""

NOT_WEIGHTS = ("optim", "callbacks")
"""Prefixes of entries whose tensors do not belong to a model."""

SCALAR = np.float64(0).__reduce__()[0]
"""The function that unpickles NumPy scalars; its name changed in NumPy 2."""

HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
    (SCALAR, "numpy._core.multiarray.scalar"),
    (SCALAR, "numpy.core.multiarray.scalar"),
]
"""Classes that are allowed beside tensors: settings that scripts save as `args`, and NumPy scalars."""


MAX_PICKLE = 16 << 20
"""Bytes of the pickle of a file; that of a model with 10,000 tensors has about 1 MiB."""

MAX_EXPANSION = 10
"""Bytes of the unpacked content of a file per byte of the file; torch stores tensors without compression."""

MAX_DEPTH = 10
"""Levels of nested entries."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name; nested entries are joined, as in `teacher.backbone.conv1.weight`.

    An entry such as `state_dict` that contains all tensors is removed from their names. Optimizer states are skipped.

    Raises:
        UserError: the file does not exist, or contains no weights.
    """
    if not path.is_file():
        raise UserError(f"--backbone.checkpoint {path}: no such file")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
        tensors = dict(_flatten(_unwrap(content)))
    except UserError:
        raise
    except Exception as error:  # readers of damaged and hostile files fail in many ways
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--backbone.checkpoint {path}: cannot be read as weights: {reason or type(error).__name__}"
        ) from error
    if not tensors:
        raise UserError(f"--backbone.checkpoint {path}: contains no state_dict, a mapping of names to tensors")
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a .safetensors file; empty for other files and for one that cannot be read."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):  # reported where the tensors are read
        return {}


def _read_torch(path: Path) -> object:
    _check_archive(path)
    with torch.serialization.safe_globals(HARMLESS):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # its message suggests loading the file nevertheless
            found = sorted(_find_unsafe_classes(path, str(error)))
    problem = (
        f"contains more than tensors ({join_names(found)})" if found else "is damaged, or contains more than tensors"
    )
    raise UserError(
        f"--backbone.checkpoint {path}: cannot be read as weights: it {problem}, which could run code and is never "
        "loaded; if you trust its source, save the state_dict alone, torch.save(checkpoint['state_dict'], FILE)"
    )


def _check_archive(path: Path) -> None:
    """Check the sizes in a file of torch 1.6 or newer, a zip archive with a pickle and the data of each tensor.

    Raises:
        ValueError: the pickle is too large for names and shapes of tensors, or the unpacked content is much larger than
            the file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
        unpacked, packed = sum(entry.file_size for entry in entries), path.stat().st_size
        if unpacked > MAX_EXPANSION * packed:
            raise ValueError(f"its {packed:,} bytes unpack to {unpacked:,} bytes")
        size = sum(entry.file_size for entry in entries if entry.filename.endswith("data.pkl"))
        if size > MAX_PICKLE:
            raise ValueError(f"its pickle of {size / 2**20:.0f} MiB contains more than tensors")


def _find_unsafe_classes(path: Path, message: str) -> list[str]:
    with contextlib.suppress(Exception):  # the file may be damaged in any way
        return torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    return re.findall(r"Unsupported global: GLOBAL (\S+)", message)  # written by torch before 1.6


def _unwrap(content: object) -> object:
    """Remove the entry that contains all tensors, if it has one of the usual names."""
    if not isinstance(content, Mapping):
        return content
    entries = [key for key, value in content.items() if isinstance(value, Mapping) and any(_flatten({key: value}))]
    if len(entries) != 1 or entries[0] not in WRAPPERS:
        return content
    return {key: value for key, value in content.items() if key != entries[0]} | dict(content[entries[0]])


def _flatten(content: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(content, Mapping):
        return
    if depth > MAX_DEPTH:
        raise ValueError(f"its entries are nested more than {MAX_DEPTH} deep")
    for key, value in content.items():
        if not isinstance(key, str) or (not prefix and key.startswith(NOT_WEIGHTS)):
            continue
        if isinstance(value, Tensor):
            yield prefix + key, value
        else:
            yield from _flatten(value, f"{prefix}{key}.", depth + 1)
