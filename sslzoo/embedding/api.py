"""`sslzoo.embed`: features of images in one call."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sslzoo.embedding.compose import compose_embedding
from sslzoo.embedding.embeddings import Embeddings
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.evaluation.weights import select_weights
from sslzoo.runtime.errors import UserError

if TYPE_CHECKING:
    import PIL.Image
    from datasets import Dataset

    from sslzoo.data.images import EncodedImages


def embed(
    data: "str | Path | Sequence[str | Path | PIL.Image.Image] | Dataset | None",
    weights: Any,
    output: str | Path | None = None,
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
            (`cifar10`, or `owner/name` on the Hub), a `datasets.Dataset`, or a list of PIL images; None for the images
            that a run was trained on.
        weights: a run folder or an object with its `path`, a name of timm (`resnet50.a1_in1k`), `hf-hub:owner/model`,
            or a file of weights, with `backbone` if it does not name its model; None if settings select them
            (`untrained=True`).
        output: file to write, .npz, .parquet or .faiss; None keeps the features in memory.
        backbone: timm's name of the architecture of a file of weights.
        split: split of a data set, `all` for all of them; by default `train`, and all images of a folder.
        progress: print a header and the progress.
        settings: further settings of `run.py embed`, such as `batch_size=64`, `img_size=224` or `tokens=True`; nested
            ones as `**{"dataset.limit": 100}`.

    Returns:
        The features, with ids, paths, labels and metadata of the images.

    Raises:
        UserError: images, weights or a setting are invalid, or the file exists with other content.
    """
    words, images = _describe_data(data)
    flags = [*select_weights(weights, backbone), *words]
    for name, value in {"split": split, **settings}.items():
        if name != "split" or value is not None:
            flags += _format_flag(name, value)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.npz" if output is None else Path(output)
        job = compose_embedding([*flags, "--output", str(file)], prog="sslzoo.embed")
        from sslzoo.embedding.run import embed_images
        from sslzoo.runtime.isolation import preserve_process

        with preserve_process():
            encoded = None if images is None else _create_images(images, job)
            embed_images(job, images=encoded, console=Console(quiet=not progress), temporary=output is None)
        return Embeddings.load(file, memory_map=output is not None)


def _describe_data(data: Any) -> tuple[list[str], Any]:
    """Return the flags that name the data, and images in memory."""
    if data is None:
        return [], None
    if isinstance(data, str | Path):
        path, name = Path(data).expanduser(), str(data)
        if path.exists() or isinstance(data, Path):
            return ["--images", name], None
        if name.count("/") == 1 and not name.startswith((".", "~", "/")):
            return ["--dataset", "folder", "--dataset.path", name, "--dataset.unlabeled", "false"], None
        return ["--dataset", name], None
    if isinstance(data, Sequence) and data and all(isinstance(item, str | Path) for item in data):
        return ["--images", *map(str, data)], None
    if isinstance(data, Sequence) and not data:
        raise UserError("data: is empty")
    return ["--dataset", "folder", "--dataset.unlabeled", "false", "--dataset.short-side", "None"], data


def _create_images(data: Any, job: EmbeddingJob) -> "EncodedImages":
    import datasets

    from sslzoo.data.load import load_table

    if not isinstance(data, datasets.Dataset):
        try:
            features = datasets.Features(image=datasets.Image())
            data = datasets.Dataset.from_dict({"image": list(data)}, features=features)
        except Exception as error:  # each kind of object fails in its own way
            raise UserError(
                f"data: {type(data).__name__}: must be a path, the name of a data set, a datasets.Dataset, or a list "
                "of paths or PIL images"
            ) from error
    images = load_table(data, job.dataset)
    images.name = "images in memory"
    return images


def _format_flag(name: str, value: Any) -> list[str]:
    words = [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
    return [f"--{name.replace('_', '-')}", *([str(value).lower()] if isinstance(value, bool) else words)]
