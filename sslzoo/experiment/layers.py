"""Layers of a run's config: the shipped files, and part names written as mappings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslzoo.config.layers import Layer, configs_folder, read_layers
from sslzoo.data.sources import DATASETS
from sslzoo.experiment.flags import PART_FLAGS
from sslzoo.experiment.format import upgrade
from sslzoo.runtime.errors import UserError, format_value, near_misses

SourcedLayer = tuple[str, Layer]
"""The source of a layer, such as the path of its file, and its content."""

DEFAULT_DATASET = "digits"


def read_shipped_layers(name: str) -> list[SourcedLayer]:
    """Read a shipped config, such as `dataset/cifar10`, preceded by the layers that it includes."""
    layers = read_layers(configs_folder() / f"{name}.yaml")
    return [(source, expand_part_names(layer, source)) for source, layer in layers]


def read_dataset_layers(name: str) -> list[SourcedLayer]:
    """Read the layers of `--dataset NAME`: a shipped config, or a source that a plug-in registered.

    Raises:
        UserError: the name is unknown.
    """
    if (configs_folder() / "dataset" / f"{name}.yaml").is_file():
        return read_shipped_layers(f"dataset/{name}")
    if name in DATASETS.names():
        return [(f"dataset {name}", {"dataset": {"name": name, "source": name}})]
    known = [path.stem for path in (configs_folder() / "dataset").glob("*.yaml")]
    raise UserError(
        f"--dataset {name}: no such data set{near_misses(name, [*known, *DATASETS.names()])} "
        "(--dataset folder --dataset.path PATH reads a folder of images)"
    )


def expand_part_names(layer: Layer, source: str) -> Layer:
    """Upgrade a layer to the current format, and write part names as mappings: `method: byol` as `{name: byol}`.

    Args:
        source: file of the layer, for error messages.

    Raises:
        UserError: a part is neither a name nor a mapping of settings, or the format cannot be read.
    """
    expanded = {
        key: {"name": value} if key in PART_FLAGS and isinstance(value, str) else value
        for key, value in upgrade(layer, source).items()
    }
    for part in PART_FLAGS:
        settings = {} if expanded.get(part) is None else expanded[part]
        if not isinstance(settings, dict):
            raise UserError(f"{source}: {part} = {format_value(settings)}: must be a name or a mapping of settings")
        if not isinstance(settings.get("name"), str | None):
            raise UserError(f"{source}: {part}.name = {format_value(settings['name'])}: must be a name")
    return expanded


def is_shipped(source: str) -> bool:
    """Whether the source of a layer is a config that ships with the package."""
    return source != "" and Path(source).resolve().is_relative_to(configs_folder().resolve())


def has_setting(layer: Layer, path: tuple[str, ...]) -> bool:
    """Whether a layer contains the setting with these keys, such as `("method", "queue_size")`."""
    value: Any = layer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value is not None


def find_setting_source(path: tuple[str, ...], layers: Sequence[SourcedLayer]) -> str | None:
    """Find the source of the last layer that contains a setting; None if no layer does.

    Args:
        path: keys of the setting, such as `("method", "queue_size")`.
    """
    for source, layer in reversed(layers):
        if path and has_setting(layer, path):
            return source
    return None
