"""`sslzoo.embed`: features of images in one call."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sslzoo.api.arguments import open_data
from sslzoo.config.layers import merge
from sslzoo.embedding.compose import compose_embedding
from sslzoo.embedding.embeddings import Embeddings
from sslzoo.embedding.run import embed_images
from sslzoo.evaluation.weights import select_weights
from sslzoo.runtime.isolation import preserve_process


def embed(
    data: object,
    weights: object,
    output: str | os.PathLike[str] | None = None,
    *,
    backbone: str | None = None,
    split: str | None = None,
    progress: bool = True,
    **settings: Any,
) -> Embeddings:
    """Compute the features of images.

    With `output`, features are written as they come, and an interrupted call continues when it is repeated.

    Args:
        data: a folder, an image file or a list of them, a text file with a path on each line, the name of a data set
            (`cifar10`, or `owner/name` on the Hub), a `datasets.Dataset`, a torch data set, a list of PIL images, or a
            mapping of the names of splits to data sets; None for the images that a run was trained on.
        weights: a run folder or an object with its `path`, a name of timm (`resnet50.a1_in1k`), `hf-hub:owner/model`,
            or a file of weights, with `backbone` if it does not name its model; None if settings select them
            (`untrained=True`).
        output: file to write, .npz, .parquet or .faiss; None keeps the features in memory.
        backbone: timm's name of the architecture of a file of weights.
        split: split of a data set, `all` for all of them; by default `train`, and all images of a folder.
        progress: print a header and the progress.
        settings: further settings of `run.py embed`, such as `batch_size=64`, `img_size=224` or `tokens=True`; nested
            ones as `dataset={"limit": 100}` or `**{"dataset.limit": 100}`.

    Returns:
        The features, with ids, paths, labels and metadata of the images.

    Raises:
        UserError: images, weights or a setting are invalid, or the file exists with other content.
    """
    held = getattr(weights, "data", None)
    if data is None and not isinstance(held, str | os.PathLike):  # the config of a run names other data sets
        data = held
    words = select_weights(weights, backbone)
    if files := _list_files(data):
        words, data = [*words, "--images", *files], None
    given = settings if split is None else {"split": split, **settings}
    with tempfile.TemporaryDirectory() as folder, preserve_process(), open_data(data, given) as layer:
        file = Path(folder) / "features.npz" if output is None else Path(output)
        if not isinstance(data, str | None):  # decoding shrinks images to what the model needs
            layer = merge({"dataset": {"short_side": None}}, layer)
        job = compose_embedding([*words, "--output", str(file)], layer, prog="sslzoo.embed")
        embed_images(job, console=Console(quiet=not progress), temporary=output is None)
        return Embeddings.load(file, memory_map=output is not None)


def _list_files(data: object) -> list[str]:
    """Return the paths that `--images` accepts, if `data` is a path or a list of paths; else nothing."""
    if isinstance(data, str | os.PathLike):
        is_path = isinstance(data, os.PathLike) or Path(data).expanduser().exists()
        return [os.fspath(data)] if is_path else []
    if isinstance(data, Sequence) and data and all(isinstance(item, str | os.PathLike) for item in data):
        return list(map(os.fspath, data))
    return []
