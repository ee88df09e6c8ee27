"""Describe how features were computed."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import sslzoo
from sslzoo.data.images import Images
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.evaluation.transform import Transform
from sslzoo.modules.backbones import model_arguments, resolve_name
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.files import file_sha256

FORMAT = 1
"""Version of the features; increase it when the code computes other features from the same inputs."""


def create_identity(job: EmbeddingJob, sha256: str, images: Images, transform: Transform) -> dict[str, Any]:
    """Return what defines the features: those of the same identity are the same on the same hardware.

    Args:
        sha256: of the names and values of all tensors of the backbone.
    """
    size = transform.augmentation.size
    assert size is not None
    return {
        "weights": sha256,
        "backbone": resolve_name(job.backbone, size),
        "arguments": model_arguments(job.backbone, in_chans=job.dataset.channels, img_size=size),
        "transform": str(transform),
        "precision": job.precision,
        "batch size": job.batch_size,
        "tokens": job.tokens,
        "images": images.fingerprint,
        "columns": job.columns,
        "torch": version("torch"),
        "format": FORMAT,
    }


def describe_change(earlier: dict[str, Any], identity: dict[str, Any]) -> str | None:
    """Describe the first difference of an earlier identity, None if there is none."""
    for name, value in identity.items():
        if earlier.get(name) != value:
            if name in ("weights", "images"):
                return f"other {name}"
            return f"another {name}, {earlier.get(name)} instead of {value}"
    return None


def create_metadata(
    job: EmbeddingJob,
    identity: dict[str, Any],
    weights: str,
    transform: Transform,
    root: Path | None,
    split: str,
) -> dict[str, Any]:
    """Return the metadata of a file of features.

    Args:
        identity: see `create_identity`.
        weights: description of the weights.
        root: folder that paths are relative to.
        split: of the images.
    """
    checkpoint = job.backbone.checkpoint
    settings = job.model_dump(mode="json", exclude={"output", "threads"})
    if checkpoint is not None:  # found from any folder
        settings["backbone"]["checkpoint"] = str(checkpoint.expanduser().absolute())
    if job.run is not None:
        settings["run"] = str(job.run.expanduser().absolute())
    if root is not None and job.dataset.path is not None and Path(job.dataset.path).expanduser().exists():
        settings["dataset"]["path"] = str(Path(job.dataset.path).expanduser().absolute())
    return {
        "backbone": identity["backbone"],
        "weights": weights,
        "weights_sha256": identity["weights"],
        "checkpoint_sha256": None if checkpoint is None else file_sha256(checkpoint.expanduser()),
        "transform": str(transform),
        "precision": job.precision,
        "device": device_name(),
        "dataset": None if job.images else job.dataset.name,
        "split": split,
        "root": None if root is None else str(root),
        "versions": {"sslzoo": sslzoo.__version__, **{name: version(name) for name in ("torch", "timm", "numpy")}},
        "identity": identity,
        "settings": settings,
    }
