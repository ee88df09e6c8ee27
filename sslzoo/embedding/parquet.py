"""Features as Parquet: a row for each image."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from sslzoo.embedding.rows import Chunks, Rows, Vectors

KEY = b"sslzoo"
"""Key of the metadata in the schema."""


def write_parquet(file: Path, rows: Rows, chunks: Chunks, *, columns: bool = False) -> None:
    """Write features; one chunk of vectors, which becomes a row group, is in memory at a time.

    Args:
        columns: write a column for each dimension instead of one column of lists.
    """
    _, *shape = chunks.shape
    fields = [("id", pa.int64())]
    if rows.paths is not None:
        fields.append(("path", pa.string()))
    if rows.labels is not None:
        fields.append(("label", pa.string()))
    if columns:
        fields += [(f"f{dimension}", pa.float32()) for dimension in range(shape[0])]
    else:
        fields.append(("vector", _list_type(shape)))
    metadata = {"classes": rows.classes, **rows.metadata}
    schema = pa.schema(fields, {KEY: json.dumps(metadata, sort_keys=True).encode()})
    texts = [name for name in ("path", "label") if name in schema.names]
    with pq.ParquetWriter(file, schema, use_dictionary=texts, write_statistics=["id", *texts]) as writer:
        for part in _create_parts(rows, chunks, columns=columns):
            table = pa.Table.from_arrays([part[name] for name in schema.names], schema=schema)
            writer.write_table(table, row_group_size=max(1, len(table)))


def write_rows(file: Path, rows: Rows) -> None:
    """Write the rows without vectors, for a format that stores the vectors in another file."""
    columns: dict[str, Any] = {"id": pa.array(rows.ids)}
    if rows.paths is not None:
        columns["path"] = rows.paths
    if rows.labels is not None:
        columns["label"] = _name_labels(rows, slice(None))
    metadata = {KEY: json.dumps({"classes": rows.classes, **rows.metadata}, sort_keys=True).encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file)


def read_parquet(file: Path) -> tuple[Rows, Vectors]:
    """Read features.

    Raises:
        OSError, ValueError, KeyError, pyarrow.ArrowException: the file is damaged, or has no vectors.
    """
    rows = read_rows(file)
    content = pq.ParquetFile(file)
    names = content.schema_arrow.names
    if "vector" in names:
        parts = [
            _to_numpy(content.read_row_group(group, ["vector"]).column(0)) for group in range(content.num_row_groups)
        ]
        return rows, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    dimensions = [f"f{dimension}" for dimension in range(len(names)) if f"f{dimension}" in names]
    if not dimensions:
        raise KeyError("neither a column `vector` nor columns `f0`, `f1`, ...")
    vectors = np.empty((len(rows), len(dimensions)), np.float32)
    for number, name in enumerate(dimensions):
        vectors[:, number] = content.read([name]).column(0).to_numpy()
    return rows, vectors


def read_rows(file: Path) -> Rows:
    """Read the rows without vectors; a file that other programs wrote needs no ids."""
    content = pq.ParquetFile(file)
    names = content.schema_arrow.names
    table = content.read([name for name in ("id", "path", "label") if name in names])
    metadata = json.loads((content.schema_arrow.metadata or {}).get(KEY, b"{}"))
    classes = metadata.pop("classes", [])
    labels = None
    if "label" in names:
        texts = table.column("label").combine_chunks().cast(pa.string())
        classes = classes or sorted({text for text in pc.unique(texts).to_pylist() if text is not None})
        labels = pc.fill_null(pc.index_in(texts, pa.array(classes, pa.string())), -1).to_numpy().astype(np.int64)
    ids = table.column("id").to_numpy() if "id" in names else np.arange(content.metadata.num_rows)
    paths = table.column("path").combine_chunks() if "path" in names else None
    return Rows(ids, paths, labels, classes, metadata)


def read_metadata(file: Path) -> dict[str, Any]:
    """Read the metadata only."""
    metadata: dict[str, Any] = json.loads((pq.read_schema(file).metadata or {}).get(KEY, b"{}"))
    return metadata


def _create_parts(rows: Rows, chunks: Chunks, *, columns: bool) -> Iterator[dict[str, Any]]:
    start = 0
    for vectors in chunks.parts:
        here = slice(start, start := start + len(vectors))
        part: dict[str, Any] = {"id": pa.array(rows.ids[here])}
        if rows.paths is not None:
            part["path"] = rows.paths.slice(here.start, len(vectors))
        if rows.labels is not None:
            part["label"] = _name_labels(rows, here)
        if columns:
            part |= {f"f{number}": pa.array(column) for number, column in enumerate(np.ascontiguousarray(vectors.T))}
        else:
            part["vector"] = _to_arrow(vectors)
        yield part


def _name_labels(rows: Rows, here: slice) -> pa.Array:
    assert rows.labels is not None
    numbers = rows.labels[here]
    return pa.array(rows.classes, pa.string()).take(pa.array(numbers, mask=numbers < 0))


def _list_type(shape: list[int]) -> pa.DataType:
    kind = pa.float32()
    for length in reversed(shape):
        kind = pa.list_(kind, length)
    return kind


def _to_arrow(vectors: Vectors) -> pa.Array:
    array = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    for length in reversed(vectors.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, length)
    return array


def _to_numpy(column: pa.ChunkedArray) -> Vectors:
    array, shape = column.combine_chunks(), [len(column)]
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        count, array = len(array), array.flatten()
        if len(array) % max(count, 1):
            raise ValueError("the vectors have different lengths")
        shape.append(len(array) // max(count, 1))
    vectors: Vectors = array.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(shape)
    return vectors
