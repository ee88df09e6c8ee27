"""Features as .npz: NumPy arrays in an uncompressed zip archive.

`vectors` begins at a multiple of 64 bytes, so that it can be mapped into memory. The same arrays give the same bytes.
"""

import json
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from sslzoo.embedding.rows import Chunks, Rows, Vectors

_ALIGNMENT = 64
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_NAMES = 65536
"""Number of paths that are converted at once."""


def write_npz(file: Path, rows: Rows, chunks: Chunks) -> None:
    """Write features; one chunk of vectors is in memory at a time."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, "vectors", np.dtype(np.float32), chunks.shape, chunks.parts)
        _write(archive, "ids", np.dtype(np.int64), (len(rows),), [rows.ids])
        if rows.labels is not None:
            _write(archive, "labels", np.dtype(np.int64), (len(rows),), [rows.labels])
            classes = np.array(rows.classes, dtype=np.str_)
            _write(archive, "classes", classes.dtype, classes.shape, [classes])
        if rows.paths is not None:
            width = pc.max(pc.utf8_length(rows.paths)).as_py() or 1
            kind = np.dtype(f"<U{width}")
            _write(archive, "paths", kind, (len(rows),), _convert_paths(rows.paths, kind))
        text = np.array(json.dumps(rows.metadata, sort_keys=True))
        _write(archive, "metadata", text.dtype, (), [text])


def read_npz(file: Path, *, memory_map: bool = True) -> tuple[Rows, Vectors]:
    """Read features; the vectors are mapped into memory if `write_npz` wrote them. Only `vectors` is required.

    Raises:
        OSError, ValueError, KeyError, zipfile.BadZipFile: the file is damaged, or has no `vectors`.
    """
    with np.load(file, allow_pickle=False) as arrays:
        mapped = _map_vectors(file) if memory_map else None
        vectors = arrays["vectors"] if mapped is None else mapped
        content = {name: arrays[name] for name in arrays.files if name != "vectors"}
    metadata = json.loads(str(content["metadata"])) if "metadata" in content else {}
    paths = pa.array(content["paths"].tolist(), pa.string()) if "paths" in content else None
    labels = content.get("labels")
    ids = content.get("ids", np.arange(len(vectors)))
    if np.issubdtype(vectors.dtype, np.floating):
        vectors = vectors.astype(np.float32, copy=False)
    return Rows(ids, paths, labels, content.get("classes", np.array([], np.str_)).tolist(), metadata), vectors


def _write(
    archive: zipfile.ZipFile, name: str, kind: np.dtype[Any], shape: tuple[int, ...], parts: Iterable[NDArray[Any]]
) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED if name == "paths" else zipfile.ZIP_STORED
    entry.external_attr = 0o600 << 16
    start = archive.fp.tell() + _LOCAL_HEADER + len(entry.filename) + _ZIP64_EXTRA  # type: ignore[union-attr]
    padding = (-start - 4) % _ALIGNMENT
    entry.extra = struct.pack("<HH", 0x4C5A, padding) + bytes(padding)
    with archive.open(entry, "w", force_zip64=True) as target:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        for part in parts:
            target.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _convert_paths(paths: pa.StringArray, kind: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(paths), _NAMES):
        yield np.array([path or "" for path in paths.slice(start, _NAMES).to_pylist()], dtype=kind)


def _map_vectors(file: Path) -> Vectors | None:
    """Map `vectors` into memory; None if it is compressed or not aligned."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as content:
        entry = archive.getinfo("vectors.npy")
        if entry.compress_type != zipfile.ZIP_STORED:
            return None
        content.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", content.read(4))
        content.seek(entry.header_offset + _LOCAL_HEADER + name + extra)
        shape, fortran, kind = _read_header(content)
        offset = content.tell()
    if fortran or offset % 4 or kind != np.float32 or 0 in shape:
        return None
    return np.memmap(file, dtype=kind, mode="r", offset=offset, shape=shape)


def _read_header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        return (), True, np.dtype(np.float32)
    return np.lib.format.read_array_header_1_0(content)
