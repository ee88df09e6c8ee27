"""The section `by_method` of a layer: settings that apply to one method and its presets.

    by_method:
      moco: {method: {queue_size: 4096}}
      byol: {optimizer: {lr: 0.1}}

A shipped layer may name a section of the files `configs/method/NAME.yaml` instead: `by_method: small`.
"""

from collections.abc import Sequence

from sslzoo.config.layers import Layer, configs_folder, merge, merge_all, read_layer
from sslzoo.config.schema import SettingError
from sslzoo.experiment.flags import PART_FLAGS
from sslzoo.experiment.layers import DEFAULT_DATASET, SourcedLayer, expand_part_names, has_setting, read_shipped_layers
from sslzoo.experiment.models import choose_target_and_loss, create_experiment_model
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS, Method
from sslzoo.runtime.errors import UserError, format_value, near_misses
from sslzoo.targets import TARGETS

SECTIONS = ("digits", "small", "imagenet")
"""Sections of `configs/method/NAME.yaml`: settings for the digits, for small images, and for ImageNet."""


def require_rows(rows: object, source: str) -> None:
    """Check that `by_method` maps names of methods to mappings, or names a section.

    Args:
        source: file of the layer, for error messages.

    Raises:
        UserError: it does neither.
    """
    if isinstance(rows, str):
        if rows not in SECTIONS:
            sections = ", ".join(SECTIONS)
            raise UserError(f"{source}: by_method = {rows}: must be {sections} or a mapping of methods to settings")
        return
    if not isinstance(rows, dict):
        raise UserError(f"{source}: by_method = {format_value(rows)}: must be a mapping of methods to settings")
    for name, row in rows.items():
        if name not in METHODS.names():
            raise UserError(f"{source}: by_method.{name}: no such method{near_misses(str(name), METHODS.names())}")
        if not isinstance(row, dict):
            raise UserError(f"{source}: by_method.{name} = {format_value(row)}: must be a mapping of settings")


def merge_rows(layer: Layer, source: str, method: type[Method], chosen: Layer) -> Layer:
    """Merge the rows of a method into their layer.

    A row sets up the method's own target and loss. If others are chosen, they receive only the settings that they have
    too.

    Args:
        source: file of the layer, for error messages.
        chosen: names of the chosen parts, such as `{"target": {"name": "hard"}}`.

    Returns:
        The layer without `by_method`.
    """
    merged = {key: value for key, value in layer.items() if key != "by_method"}
    for row in _find_rows(layer, method):
        row = expand_part_names(row, f"{source}: by_method")
        for part, registry in (("target", TARGETS), ("loss", LOSSES)):
            if chosen[part] is not None and "name" not in (row.get(part) or {"name": ""}):
                known = registry.get(chosen[part]["name"]).Config.model_fields
                row = {**row, part: {key: value for key, value in row[part].items() if key in known}}
        merged = merge(merged, row)
    return merged


def sets_setting(layer: Layer, method: type[Method], path: tuple[str, ...]) -> bool:
    """Whether a layer, or its row of a method, contains the setting with these keys."""
    rows = [] if isinstance(layer.get("by_method"), str) else _find_rows(layer, method)
    return any(has_setting(content, path) for content in (layer, *rows))


def validate_rows(layers: Sequence[SourcedLayer]) -> None:
    """Validate all rows, including those of methods that are not chosen.

    Raises:
        UserError: a row has an unknown setting or an invalid value.
    """
    for source, layer in layers:
        rows = layer.get("by_method", {})
        for name, row in rows.items() if isinstance(rows, dict) else ():
            _validate_row(METHODS.get(name), row, source)


def _validate_row(method: type[Method], row: Layer, source: str) -> None:
    where = f"{source}: by_method.{method.name}"
    layers = [layer for _, layer in read_shipped_layers("default")]
    content = merge_all([*layers, expand_part_names(row, where)])
    names = {part: (content.get(part) or {}).get("name") for part in PART_FLAGS}
    parts = {"method": {"name": method.name}, "dataset": {"name": names["dataset"] or DEFAULT_DATASET}}
    content = merge(content, parts | choose_target_and_loss(method, names))
    model = create_experiment_model(method, content)
    try:
        model(**content)
    except SettingError as error:
        if error.path:  # an error without a path is about a combination, which other layers may change
            raise UserError(f"{where}.{error}") from None


def _find_rows(layer: Layer, method: type[Method]) -> list[Layer]:
    """Find the rows of a method and of the methods that it is a preset of, the method's own last."""
    rows = layer.get("by_method", {})
    names = [parent.__dict__["name"] for parent in reversed(method.__mro__) if "name" in parent.__dict__]
    if isinstance(rows, str):
        files = [configs_folder() / "method" / f"{name}.yaml" for name in names]
        return [read_layer(file).get(rows, {}) for file in files if file.is_file()]
    return [rows[name] for name in names if name in rows]
