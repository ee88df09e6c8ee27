"""Arguments that the functions of this package share: data, configs and plug-ins."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sslzoo.config.layers import Layer, config_names, merge
from sslzoo.data.sources import DATASETS
from sslzoo.experiment.settings import nest_settings
from sslzoo.runtime.errors import UserError, format_value

Names = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One or several names or paths."""


def list_words(**names: Names) -> list[str]:
    """Return flags such as `["--config", "recipe/cpu"]`; empty lists are left out."""
    return [word for flag, value in names.items() if (words := list_names(value)) for word in (f"--{flag}", *words)]


def list_names(names: Names) -> list[str]:
    """Return one or several names or paths as a list of texts."""
    several = [names] if isinstance(names, str | os.PathLike) else names
    return [os.fspath(name) for name in several]


@contextmanager
def open_data(data: object, settings: Mapping[str, Any], *, splits: bool = True) -> Iterator[Layer]:
    """Add a data set to settings, and hold it within the context if it is in memory.

    Args:
        data: name of a data set of sslzoo, path of a folder or file, name on the Hub, or a data set in memory (see
            `hold_data`); None leaves the settings unchanged.
        settings: may contain further settings of `dataset`.
        splits: whether to add the splits of a data set in memory, unless settings name them; a run that is resumed
            knows them.

    Yields:
        The settings as a layer.

    Raises:
        UserError: `dataset` names another data set, or the data set in memory is invalid.
    """
    layer = nest_settings(settings)
    if data is None:
        yield layer
        return
    if "name" in layer.get("dataset", {}):
        raise UserError(
            f"data = {format_value(data, 60)}: cannot be combined with dataset = {layer['dataset']['name']}, which "
            "names another data set"
        )
    if isinstance(data, str | os.PathLike):
        yield _add_data(layer, find_data(data))
        return
    from sslzoo.data.memory import hold_data

    with hold_data(data) as found:
        yield _add_data(layer, found if splits else {key: found[key] for key in ("name", "path")})


def find_data(data: str | os.PathLike[str]) -> Layer:
    """Return the settings of `dataset` that name a data set: one of sslzoo, a local path, or one on the Hub."""
    text = os.fspath(data)
    if isinstance(data, str) and data in {*_list_dataset_names(), *DATASETS.names()}:
        return {"name": data}
    if Path(text).expanduser().exists() or not isinstance(data, str) or text.startswith((".", "/", "~")):
        return {"name": "folder", "path": text}
    if text.count("/") == 1:  # owner/name on the Hub
        return {"name": "folder", "path": text, "unlabeled": False}
    return {"name": text}


def _list_dataset_names() -> list[str]:
    return [name.removeprefix("dataset/") for name in config_names("dataset")]


def _add_data(layer: Layer, dataset: Layer) -> Layer:
    return {**layer, "dataset": merge(dataset, layer.get("dataset", {}))}
