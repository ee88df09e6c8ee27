"""Settings given in Python: keywords, nested mappings and dotted names, as a layer of a config."""

from collections.abc import Mapping
from typing import Any

from sslzoo.config.layers import Layer, merge, merge_all
from sslzoo.experiment.flags import PART_FLAGS
from sslzoo.runtime.errors import UserError, format_value

PYTHON = ""
"""Source of settings that are given in Python; errors in other layers begin with the name of their file."""

FILE_KEYS = ("by_method", "include")
"""Keys of config files that are no settings."""


def nest_settings(settings: Mapping[str, Any]) -> Layer:
    """Convert settings to a layer.

    Dashes become underscores, dotted names become mappings, the class of a part becomes its name, and NumPy numbers
    become plain ones: `{"method": MoCo, "optimizer.weight-decay": 0.1}` is
    `{"method": {"name": "moco"}, "optimizer": {"weight_decay": 0.1}}`. A part that is None is left out.

    Raises:
        UserError: a part is neither a name nor a mapping, or a setting belongs in a config file.
    """
    layer: Layer = {}
    for name, value in settings.items():
        ((key, content),) = _nest(name, value).items()
        if key in FILE_KEYS:
            raise UserError(f"{key}: belongs in a config file, which config= names")
        if key in PART_FLAGS:
            if content is None:
                continue
            content = _expand_name(key, content)
        layer = merge(layer, {key: content})
    return layer


def find_part_names(layer: Layer) -> dict[str, str]:
    """Return the names of the parts in a layer of `nest_settings`, by kind, such as `{"method": "moco"}`."""
    return {part: layer[part]["name"] for part in PART_FLAGS if "name" in layer.get(part, {})}


def _nest(name: object, value: Any) -> Layer:
    *groups, last = str(name).replace("-", "_").split(".")
    if isinstance(value, Mapping):  # the names in `kwargs` are free
        value = dict(value) if last == "kwargs" else merge_all(_nest(key, inner) for key, inner in value.items())
    elif type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    layer: Layer = {last: value}
    for group in reversed(groups):
        layer = {group: layer}
    return layer


def _expand_name(part: str, value: Any) -> Layer:
    """Write a part as a mapping: `moco` as `{"name": "moco"}`."""
    if isinstance(value, type) and isinstance(name := getattr(value, "name", None), str) and name:
        value = name
    content = {"name": value} if isinstance(value, str) else value
    if not isinstance(content, dict):
        raise UserError(f"{part} = {format_value(content)}: must be a name or a mapping of settings")
    if not isinstance(content.get("name", ""), str):
        raise UserError(f"{part}.name = {format_value(content['name'])}: must be a name")
    return content
