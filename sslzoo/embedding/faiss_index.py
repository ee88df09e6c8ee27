"""Features as a FAISS index of unit vectors, whose products are cosine similarities, with a file of rows beside it.

Needs `faiss-cpu`, the extra `search` (Johnson, Douze and Jegou, IEEE Transactions on Big Data 2019).
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from sslzoo.embedding.parquet import read_rows, write_rows
from sslzoo.embedding.rows import Chunks, Rows, Vectors
from sslzoo.embedding.unit import normalize_rows
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import replace


def import_faiss(setting: str) -> Any:
    """Import FAISS.

    Args:
        setting: what needs it, for the error message.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError(f"{setting}: needs FAISS; pip install faiss-cpu, or pip install 'sslzoo[search]'") from None
    return faiss


def locate_rows(file: Path) -> Path:
    """Return the path of the ids, paths and labels of an index: `a.faiss` has `a.faiss.ids.parquet`."""
    return file.with_name(f"{file.name.removesuffix('.tmp')}.ids.parquet")


def write_faiss(file: Path, rows: Rows, chunks: Chunks) -> None:
    """Write an exact index (`IndexFlatIP`); one chunk of vectors is in memory at a time.

    A file of this index is a header and the vectors. The header is taken from FAISS and completed, which is checked on
    an index of one vector; if the check fails, the index is built in memory.
    """
    faiss = import_faiss(f"{file}")
    count, width = chunks.shape
    partial = file.with_name(f"{file.name}.ids")
    write_rows(partial, rows)
    replace(partial, locate_rows(file))
    if _create_header(faiss, width, 1) + bytes(4 * width) == _serialize(faiss, np.zeros((1, width), np.float32)):
        with file.open("wb") as target:
            target.write(_create_header(faiss, width, count))
            for part in chunks.parts:
                normalize_rows(part).tofile(target)
    else:
        index = faiss.IndexFlatIP(width)
        for part in chunks.parts:
            index.add(normalize_rows(part))
        faiss.write_index(index, str(file))


def read_faiss(file: Path) -> tuple[Rows, Vectors]:
    """Read the unit vectors of an index, and its rows.

    Raises:
        OSError, RuntimeError, ValueError: a file is damaged or missing.
    """
    faiss = import_faiss(f"{file}")
    index = faiss.read_index(str(file))
    vectors: Vectors = index.reconstruct_n(0, index.ntotal)
    rows = read_rows(locate_rows(file))
    if len(rows) != len(vectors):
        raise ValueError(f"{locate_rows(file)} has {len(rows):,} rows, and the index {len(vectors):,}")
    return rows, vectors


def _serialize(faiss: Any, vectors: Vectors) -> bytes:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    content: bytes = faiss.serialize_index(index).tobytes()
    return content


def _create_header(faiss: Any, width: int, count: int) -> bytes:
    """The bytes of an index before its vectors: those of an empty index, with both counts replaced."""
    empty = _serialize(faiss, np.zeros((0, width), np.float32))
    return empty[:8] + struct.pack("<q", count) + empty[16:-8] + struct.pack("<Q", count * width)
