"""The file of an embedding: whether it exists, and how it is joined from shards."""

from pathlib import Path

import numpy as np

from sslzoo.data.images import EncodedImages, Images
from sslzoo.embedding.describe import describe_change
from sslzoo.embedding.files import read_identity, write_features
from sslzoo.embedding.images import list_relative_paths
from sslzoo.embedding.partial import Partial, Shard
from sslzoo.embedding.rows import Chunks, Rows
from sslzoo.runtime.errors import UserError, escape_controls
from sslzoo.runtime.files import write_text


def is_finished(output: Path, identity: dict[str, object]) -> bool:
    """Whether a file contains the features of this identity; if so, what is left of writing it is deleted.

    Raises:
        UserError: the file contains something else.
    """
    if not output.exists():
        return False
    found = read_identity(output)
    if found is None:
        raise UserError(f"--output {output}: exists and is not a file of features; delete it or name another file")
    if change := describe_change(found, identity):
        raise UserError(f"--output {output}: contains features of {change}; delete it or name another file")
    Partial(output).delete()
    return True


def join_shards(
    partial: Partial,
    shards: list[Shard],
    encoded: EncodedImages,
    available: Images,
    root: Path | None,
    metadata: dict[str, object],
) -> tuple[Rows, Chunks]:
    """Collect the rows of finished shards, and read their vectors in chunks.

    Args:
        encoded: all images, with their paths.
        available: those of them that were encoded, including the undecodable ones found on the way.
        root: folder that paths are relative to.
        metadata: of the file; the messages of skipped images are added as `skipped`.

    Raises:
        UserError: no image could be decoded, and the shards are deleted; or more than may be skipped could not.
    """
    infos = [partial.read_info(shard) for shard in shards]
    skipped = [text for info in infos for text in info.skipped.values()]
    before = [text for text in encoded.skipped.messages if text not in set(skipped)]  # found when they were stored
    encoded.skipped.add(skipped)
    bad = np.array([number for info in infos for number in info.skipped], dtype=np.int64)
    kept = ~np.isin(available.ids, bad)
    if not kept.any():
        partial.delete()
        raise UserError(f"{skipped[0]}; no other image can be decoded either")
    ids = available.ids[kept]
    labels = available.labels[kept] if available.labels is not None and available.has_labels else None
    paths = list_relative_paths(encoded, root)
    if paths is not None:
        paths = paths.take(np.searchsorted(encoded.ids, ids))
    shape = next(info.shape for info in infos if info.shape)
    rows = Rows(ids, paths, labels, available.classes, {**metadata, "skipped": [*before, *skipped]})
    return rows, Chunks((len(ids), *shape), partial.read_vectors(shards, shape))


def write_output(output: Path, rows: Rows, chunks: Chunks, *, columns: bool) -> None:
    """Write the file of features, and the list of skipped images beside it if there are any.

    Args:
        columns: see `write_parquet`.

    Raises:
        UserError: a file cannot be written.
    """
    write_features(output, rows, chunks, columns=columns)
    listed, skipped = locate_skipped(output), rows.metadata["skipped"]
    if skipped:
        write_text(listed, "".join(f"{message}\n" for message in map(escape_controls, skipped)))
    else:
        listed.unlink(missing_ok=True)


def locate_skipped(output: Path) -> Path:
    """Return the path of the list of skipped images."""
    return output.with_name(f"{output.name}.skipped.txt")
