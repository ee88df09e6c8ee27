"""The images of an embedding."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from sslzoo.data.cache import load_cached
from sslzoo.data.config import DatasetConfig
from sslzoo.data.files import load_files, read_list
from sslzoo.data.images import EncodedImages, Images
from sslzoo.data.load import ALL, load_split
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.evaluation.transform import Transform

LISTS = (".txt", ".lst", ".list")
"""Endings of text files with a path on each line."""


def open_images(job: EmbeddingJob, transform: Transform) -> EncodedImages:
    """Open the images of a folder, a list of files, or a split; they are decoded whenever they are read.

    Unless `dataset.short_side` is set, large images shrink when they are decoded to what the transform needs.

    Raises:
        UserError: a file, folder or split does not exist, or there is no image.
    """
    config = job.dataset
    if config.short_side is None:
        config = config.model_copy(update={"short_side": choose_short_side(transform)})
    return _open(job, config)


def resolve_pixels(job: EmbeddingJob) -> EmbeddingJob:
    """Set the channels and the type of the images where the settings leave them open.

    Raises:
        UserError: see `open_images`.
    """
    channels, dtype = job.dataset.channels, job.dataset.known_dtype
    if not channels or not dtype:
        images = _open(job, job.dataset)
        channels, dtype = images.channels, images.dtype
    return job.model_copy(update={"dataset": job.dataset.fill_defaults(channels, dtype)})


def _open(job: EmbeddingJob, config: DatasetConfig) -> EncodedImages:
    if job.images and config.path is None:
        return load_files(list_files(job.images), config)
    return load_split(config, choose_split(job))


def choose_split(job: EmbeddingJob) -> str:
    """Return the split to read: the named one, all of a folder that `--images` names, else that for training."""
    return job.split or (ALL if job.images else job.dataset.train)


def list_files(images: Sequence[str]) -> list[str]:
    """List image files; text files stand for the paths in them.

    Raises:
        UserError: a text file cannot be read.
    """
    files: list[str] = []
    for name in images:
        path = Path(name).expanduser()
        files += read_list(path) if path.suffix.lower() in LISTS else [name]
    return files


def choose_short_side(transform: Transform) -> int:
    """Choose the shorter side in pixels to which larger images are shrunk when they are decoded.

    For bicubic interpolation, this is the size that timm resizes images to, as decoding resizes in the same way.
    Otherwise it is twice as large, and the view is resized from it.
    """
    augmentation = transform.augmentation
    assert augmentation.size is not None
    side = round(augmentation.size / augmentation.crop_pct)
    return side if augmentation.interpolation == "bicubic" and augmentation.crop == "center" else 2 * side


def cache_if_asked(images: EncodedImages, config: DatasetConfig) -> Images:
    """Store the decoded images if `dataset.cache` is set, so that another embedding of them decodes none."""
    return images if config.cache == "none" else load_cached(images, config)


def list_relative_paths(images: EncodedImages, root: Path | None) -> pa.StringArray | None:
    """List the paths of the images (n,), those below `root` relative to it; None if no image has a path."""
    paths = images.list_paths()
    paths = paths.combine_chunks() if isinstance(paths, pa.ChunkedArray) else paths
    if paths.null_count == len(paths):
        return None
    if root is None:
        return paths
    prefix = f"{str(root).rstrip('/')}/"
    below = pc.starts_with(paths, prefix)
    return pc.if_else(below, pc.utf8_slice_codeunits(paths, len(prefix)), paths)
