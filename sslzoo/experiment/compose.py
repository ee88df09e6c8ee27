"""Compose the config of a run from YAML layers, names of parts and flags."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from sslzoo.config.arguments import ArgumentParser
from sslzoo.config.layers import Layer, find_layer, merge_all, read_layers
from sslzoo.config.schema import SettingError
from sslzoo.experiment.by_method import merge_rows, require_rows, sets_setting, validate_rows
from sslzoo.experiment.flags import PART_FLAGS, has_flag, parse_flags
from sslzoo.experiment.help import describe_run_flags
from sslzoo.experiment.layers import (
    DEFAULT_DATASET,
    SourcedLayer,
    expand_part_names,
    find_setting_source,
    is_shipped,
    read_dataset_layers,
    read_shipped_layers,
)
from sslzoo.experiment.models import choose_target_and_loss, create_experiment_model
from sslzoo.experiment.plugins import add_main_module, load_plugins
from sslzoo.experiment.schema import Experiment
from sslzoo.experiment.settings import PYTHON, find_part_names, nest_settings
from sslzoo.experiment.warmup import fit_warmup
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError

DEFAULT_METHOD = "ascl"


def compose(
    arguments: Sequence[str] = (), settings: Mapping[str, Any] | None = None, *, prog: str = "run.py"
) -> Experiment:
    """Compose the config of a run from the flags of its command line, or from settings.

    In increasing order of precedence: the layers of the data set, the files of `--config`, the names of parts
    (`--method byol`), `settings`, and the flags of settings (`--method.momentum 0.99`).

    Args:
        arguments: flags, such as `["--method", "byol", "--epochs", "100"]`.
        settings: the same in Python, such as `{"method": {"name": "byol", "momentum": 0.99}, "optimizer.lr": 0.1}`.
        prog: name of the program in the text of `--help`.

    Raises:
        UserError: a name or setting is unknown, or a value is invalid.
        SystemExit: after `--help`.
    """
    named, flags = _split_arguments(arguments)
    layers = [layer for name in named.config for layer in read_layers(find_layer(name))]
    plugins = load_plugins(layers, named.plugin)
    values = nest_settings(settings or {})
    parts = {part: getattr(named, part) for part in PART_FLAGS if getattr(named, part) is not None}
    parts |= find_part_names(values)
    model, default = merge_layers(layers, parts, plugins, values)
    sets_lr = has_flag(flags, "optimizer.lr") or "lr" in values.get("optimizer", {})
    if "optimizer" in parts and not sets_lr:
        others = {part: name for part, name in parts.items() if part != "optimizer"}
        other_values = {key: value for key, value in values.items() if key != "optimizer"}
        _require_same_optimizer(merge_layers(layers, others, plugins, other_values)[1], default)
    experiment = parse_flags(model, default, flags, prog, describe_run_flags())
    return _fit_schedule(experiment, [*layers, (PYTHON, values)], flags)


def _fit_schedule(experiment: Experiment, layers: Sequence[SourcedLayer], flags: Sequence[str]) -> Experiment:
    """Shorten a warm-up that is too long for the number of epochs and that neither flags nor own files set.

    Args:
        layers: of the files of `--config`, and of settings in Python.
    """
    method, own = METHODS.get(experiment.method.name), [layer for source, layer in layers if not is_shipped(source)]
    chosen = has_flag(flags, "schedule.warmup_epochs") or any(
        sets_setting(layer, method, ("schedule", "warmup_epochs")) for layer in own
    )
    fitted = fit_warmup(experiment.schedule, experiment.epochs, group="schedule", chosen=chosen)
    if fitted.note is None:
        return experiment
    shortened = experiment.model_copy(update={"schedule": fitted.schedule})
    shortened._warmup_note = fitted.note
    return shortened


def merge_layers(
    layers: Sequence[SourcedLayer],
    parts: Mapping[str, str],
    plugins: Sequence[str] = (),
    settings: Layer | None = None,
) -> tuple[type[Experiment], Experiment]:
    """Merge layers over those of their data set, and validate the result.

    Args:
        layers: (source, content); later ones win.
        parts: names of parts from the command line or from `settings`, by kind; they win over the layers.
        plugins: loaded plug-ins, which the config records.
        settings: a layer of `nest_settings`; it wins over the layers.

    Returns:
        The schema with the settings of the chosen parts, and the config.

    Raises:
        UserError: a name or setting is unknown, or a value is invalid.
    """
    layers = [(source, expand_part_names(layer, source)) for source, layer in layers]
    for source, layer in layers:
        require_rows(layer.get("by_method", {}), source)
    merged = merge_all(layer for _, layer in layers)
    in_layers = {part: (merged.get(part) or {}).get("name") for part in PART_FLAGS}
    names: dict[str, str | None] = {**in_layers, **parts}
    dataset = names["dataset"] or DEFAULT_DATASET
    layers = [*read_shipped_layers("default"), *read_dataset_layers(dataset), *layers]

    method = METHODS.get(names["method"] or DEFAULT_METHOD)
    if "method" in parts and in_layers["method"] not in (None, method.name):
        # the layers' target and loss belong to the method that this one replaces
        layers = [(source, {k: v for k, v in layer.items() if k not in ("target", "loss")}) for source, layer in layers]
        names |= {part: parts.get(part) for part in ("target", "loss")}
    if settings:
        layers = [*layers, (PYTHON, settings)]
    chosen = {part: {"name": name} for part, name in names.items() if name is not None}
    chosen["method"], chosen["dataset"] = {"name": method.name}, {"name": dataset}
    chosen |= choose_target_and_loss(method, names)

    content = merge_all([*(merge_rows(layer, source, method, chosen) for source, layer in layers), chosen])
    if all_plugins := add_main_module(plugins, content):
        content["plugin"] = all_plugins
    model = create_experiment_model(method, content)
    validate_rows(layers)
    try:
        return model, model(**content)
    except SettingError as error:
        from_command_line = error.path in [(part, "name") for part in parts]
        where = None if from_command_line else find_setting_source(error.path, layers)
        raise UserError(f"{where}: {error}" if where else str(error)) from None


def _split_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separate configs, plug-ins and names of parts from the flags of settings."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--config", nargs="+", action="extend", default=[])
    parser.add_argument("--plugin", nargs="+", action="extend", default=[])
    for part in PART_FLAGS:
        parser.add_argument(f"--{part}", *([f"--{part}.name"] if part == "optimizer" else []), dest=part)
    return parser.parse_known_args(list(arguments))


def _require_same_optimizer(config: Experiment, requested: Experiment) -> None:
    """Check that the learning rate of a config belongs to the requested optimizer.

    Raises:
        UserError: it belongs to another optimizer.
    """
    name, optimizer = requested.optimizer.name, config.optimizer
    if name != optimizer.name:
        raise UserError(
            f"--optimizer {name}: requires --optimizer.lr as well; {optimizer.lr:g} is the learning rate of "
            f"{optimizer.name}"
        )
