"""Write and read files of features in the format that their name chooses."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sslzoo.embedding.faiss_index import locate_rows, read_faiss, write_faiss
from sslzoo.embedding.names import find_format
from sslzoo.embedding.npz import read_npz, write_npz
from sslzoo.embedding.parquet import read_metadata, read_parquet, write_parquet
from sslzoo.embedding.rows import Chunks, Rows, Vectors
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import replace


def write_features(file: Path, rows: Rows, chunks: Chunks, *, columns: bool = False) -> None:
    """Write features to a temporary file and rename it, so that the file is always complete.

    Args:
        columns: see `write_parquet`.

    Raises:
        UserError: the name has an unknown ending, or the file cannot be written.
    """
    suffix = find_format(file)
    partial = file.with_name(f"{file.name}.tmp")
    try:
        if suffix == ".npz":
            write_npz(partial, rows, chunks)
        elif suffix == ".parquet":
            write_parquet(partial, rows, chunks, columns=columns)
        else:
            write_faiss(partial, rows, chunks)
        replace(partial, file)
    except OSError as error:
        raise UserError(f"--output {file}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_features(file: Path, *, memory_map: bool = True) -> tuple[Rows, Vectors]:
    """Read features.

    Args:
        memory_map: map the vectors of an .npz file into memory instead of reading them.

    Raises:
        UserError: the file does not exist, has an unknown ending, or is damaged.
    """
    suffix = find_format(file, setting="features")
    if not file.is_file():
        raise UserError(f"features {file}: no such file")
    try:
        if suffix == ".npz":
            rows, vectors = read_npz(file, memory_map=memory_map)
        else:
            rows, vectors = read_parquet(file) if suffix == ".parquet" else read_faiss(file)
        _check(rows, vectors)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"features {file}: not a readable file of features: {reason}") from error
    return rows, vectors


def read_identity(file: Path) -> dict[str, Any] | None:
    """Read what the features of a file were computed from; None if the file does not say it."""
    try:
        if file.suffix.lower() == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                metadata = json.loads(str(arrays["metadata"]))
        else:
            metadata = read_metadata(locate_rows(file) if file.suffix.lower() == ".faiss" else file)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    identity: dict[str, Any] | None = metadata.get("identity")
    return identity


def _check(rows: Rows, vectors: Vectors) -> None:
    if vectors.ndim not in (2, 3) or vectors.dtype != np.float32:
        raise ValueError(f"vectors have shape {vectors.shape} and type {vectors.dtype}, must be (N, D) float32")
    for name, column in (("ids", rows.ids), ("paths", rows.paths), ("labels", rows.labels)):
        if column is not None and len(column) != len(vectors):
            raise ValueError(f"{len(vectors)} vectors, but {len(column)} {name}")
