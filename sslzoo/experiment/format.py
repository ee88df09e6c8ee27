"""The format of config files, and the new names of settings in older formats."""

from pathlib import Path

from sslzoo.config.layers import Layer, read_layer
from sslzoo.runtime.errors import UserError, format_value

FORMAT = 2
"""Format of the config files that this version writes; files without `format` have format 1, that of sslzoo 0.1."""

RENAMED = {
    "views": "augmentations",
    "compile_views": "compile_augmentations",
    "knn_pictures": "knn_images",
    "quality_pictures": "quality_images",
    "dataset.labelled": "dataset.labeled",
    "dataset.unlabelled": "dataset.unlabeled",
    "dataset.epoch_pictures": "dataset.epoch_images",
    "augmentations.*.grey": "augmentations.*.grayscale",
    "evaluation.*.standardise": "evaluation.*.standardize",
}
"""Settings of format 1 and their names in format 2; `*` stands for any name."""


def upgrade(layer: Layer, source: str) -> Layer:
    """Rename the settings of a layer from its format to `FORMAT`, and drop the key `format`.

    Args:
        source: file of the layer, for error messages.

    Raises:
        UserError: the format is newer than `FORMAT`, or not a whole number.
    """
    version = layer.get("format", 1)
    if not isinstance(version, int):
        raise UserError(f"{source}: format = {format_value(version)}: must be a whole number")
    if version > FORMAT:
        raise UserError(
            f"{source}: has format {version}, written by a newer sslzoo; this version reads formats up to {FORMAT}"
        )
    upgraded = {key: value for key, value in layer.items() if key != "format"}
    if version < FORMAT:
        for old, new in RENAMED.items():
            upgraded = _rename(upgraded, old.split("."), new.rpartition(".")[2])
    return upgraded


def require_resumable(config: Path) -> None:
    """Check that this version can resume the checkpoints of a run.

    Args:
        config: config file of the run.

    Raises:
        UserError: an older version wrote the run.
    """
    if read_layer(config).get("format", 1) != FORMAT:
        raise UserError(
            f"--resume {config.parent}: was written by sslzoo 0.1, whose checkpoints this version cannot resume; "
            f"`evaluate {config.parent}` and `--config {config}` accept it"
        )


def _rename(layer: Layer, path: list[str], name: str) -> Layer:
    """Rename the last key of `path` in a layer."""
    first, rest = path[0], path[1:]
    if not rest:
        return {name if key == first else key: value for key, value in layer.items()}
    return {
        key: _rename(value, rest, name) if first in ("*", key) and isinstance(value, dict) else value
        for key, value in layer.items()
    }
