"""How YAML layers, names and flags become the one checked config of a run."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import create_model

from sslzoo.config.arguments import ArgumentParser
from sslzoo.config.layers import (
    Layer,
    config_names,
    configs_folder,
    find_layer,
    merge,
    merge_all,
    read_layer,
    read_layers,
)
from sslzoo.config.registry import load_plugin
from sslzoo.config.schema import Config, PartConfig, SettingError
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.sources import DATASETS
from sslzoo.experiment.flags import NAMED, parse_flags
from sslzoo.experiment.format import require_resumable, upgrade
from sslzoo.experiment.schema import Experiment
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS, Method
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.modules.optim import OptimizerConfig
from sslzoo.runtime.errors import UserError, format_value, near_misses
from sslzoo.targets import TARGETS

DEFAULT_METHOD, DEFAULT_DATASET = "ascl", "digits"

SECTIONS = ("digits", "small", "imagenet")
"""Sections of `configs/method/NAME.yaml`: settings of a method for the digits, for small images, and for ImageNet."""

MAY_CHANGE = {"threads", "save_minutes", "save_every", "keep_checkpoints", "log_every", "run_folder", "output"}
"""Settings that a resumed run may have otherwise than before: they change no result."""


def compose(arguments: Sequence[str], *, prog: str = "run.py") -> Experiment:
    """The config that command-line arguments ask for: layers of YAML, then names, then flags.

    Raises:
        UserError: an unknown name or setting, or a value that it cannot have.
        SystemExit: after `--help`.
    """
    named, flags = _split_names(arguments)
    layers = [layer for name in named.config for layer in read_layers(find_layer(name))]
    given = {name: getattr(named, name) for name in NAMED if getattr(named, name) is not None}
    plugins = load_plugins(layers, named.plugin)
    model, default = resolve(layers, given, plugins)
    if "optimizer" in given and not any(flag.partition("=")[0] == "--optimizer.lr" for flag in flags):
        _, before = resolve(layers, {part: name for part, name in given.items() if part != "optimizer"}, plugins)
        _require_same_optimizer(before.optimizer, default.optimizer.name)
    return parse_flags(model, default, flags, prog, _description())


def _require_same_optimizer(before: OptimizerConfig, name: str) -> None:
    if name != before.name:
        raise UserError(
            f"--optimizer {name}: needs --optimizer.lr as well, as {before.lr:g} is the learning rate of {before.name}"
        )


def compose_resumed(run: Path, arguments: Sequence[str], *, prog: str = "run.py") -> Experiment:
    """Config of an earlier run, to be resumed.

    Raises:
        UserError: there is no run, or the arguments ask for other settings than it had.
    """
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"--resume {run}: not a run folder (it has no config.yaml)")
    require_resumable(config)
    now = compose(["--config", str(config), *arguments], prog=prog)
    before = compose(["--config", str(config)], prog=prog)
    require_same_settings(run, before, now)
    return now.resolve_auto(before.precision, before.compile_augmentations)


def require_same_settings(run: Path, before: Experiment, now: Experiment) -> None:
    """A resumed run keeps its settings, those aside that change no result; `auto` is what the run made of it.

    Raises:
        UserError: another setting differs.
    """
    had, now = before.model_dump(), now.resolve_auto(before.precision, before.compile_augmentations)
    for setting, value in now.model_dump(exclude=MAY_CHANGE).items():
        if value != had[setting]:
            raise UserError(
                f"--resume {run}: a resumed run keeps its settings, and {setting} was {had[setting]}, is {value}; "
                f"--config {run / 'config.yaml'} starts a new run from them"
            )


def resolve(
    layers: Sequence[tuple[str, Layer]], given: dict[str, str], plugins: Sequence[str] = ()
) -> tuple[type[Experiment], Experiment]:
    """The typed config of the chosen parts, with the values of the layers.

    Args:
        layers: (where it is from, content), later ones win.
        given: names of parts that were chosen outside of the layers; they win over the layers.
        plugins: that were loaded, for the record.
    """
    layers = [(source, spell_out(layer, source)) for source, layer in layers]
    for source, layer in layers:
        _require_rows(layer.get("by_method", {}), source)
    written = merge_all(layer for _, layer in layers)
    names = {part: (written.get(part) or {}).get("name") for part in NAMED} | given
    dataset = names["dataset"] or DEFAULT_DATASET
    layers = [*shipped_layers("default"), *dataset_layers(dataset), *layers]

    method = METHODS.get(names["method"] or DEFAULT_METHOD)
    if "method" in given and written.get("method", {}).get("name", method.name) != method.name:
        # another method than the layers': their target and loss were that method's
        layers = [(source, {k: v for k, v in layer.items() if k not in ("target", "loss")}) for source, layer in layers]
        names |= {part: given.get(part) for part in ("target", "loss")}
    chosen = {part: {"name": name} for part, name in names.items() if name is not None}
    chosen["method"], chosen["dataset"] = {"name": method.name}, {"name": dataset}
    chosen |= _target_and_loss(method, names)

    content = merge_all([*(_for_method(source, layer, method, chosen) for source, layer in layers), chosen])
    if plugins:
        content["plugin"] = list(plugins)
    model = _experiment_of(method, content)
    _check_rows(layers)
    try:
        return model, model(**content)
    except SettingError as error:
        source = "" if error.path in [(part, "name") for part in given] else _source_of(error, layers)
        raise UserError(f"{source}{error}") from None


def _split_names(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--config", nargs="+", action="extend", default=[])
    parser.add_argument("--plugin", nargs="+", action="extend", default=[])
    for name in NAMED:
        parser.add_argument(f"--{name}", *([f"--{name}.name"] if name == "optimizer" else []), dest=name)
    return parser.parse_known_args(list(arguments))


def load_plugins(layers: Iterable[tuple[str, Layer]], named: Iterable[str] = ()) -> list[str]:
    """Load the plug-ins that layers and the command line name.

    Args:
        layers: (file, content); relative paths in one are looked for beside it first.
        named: those of the command line.

    Returns:
        What a config records of them: it finds them from any folder.

    Raises:
        UserError: one is not there, or does not import.
    """
    loaded = []
    for source, layer in layers:
        entry = layer.get("plugin", [])
        plugins = [entry] if isinstance(entry, str) else entry
        if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
            raise UserError(f"{source}: plugin = {format_value(entry)}: takes a file or a list of files")
        loaded += [load_plugin(plugin, setting=f"{source}: plugin", beside=Path(source).parent) for plugin in plugins]
    return list(dict.fromkeys([*loaded, *map(load_plugin, named)]))


def spell_out(layer: Layer, source: str) -> Layer:
    """Names of parts written out: `method: byol` means `method: {name: byol}`.

    Args:
        source: where the layer is from.

    Raises:
        UserError: a part is neither a name nor a mapping of settings.
    """
    spelled = {
        key: {"name": value} if key in NAMED and isinstance(value, str) else value
        for key, value in upgrade(layer, source).items()
    }
    for part in NAMED:
        entry = {} if spelled.get(part) is None else spelled[part]
        if not isinstance(entry, dict):
            raise UserError(f"{source}: {part} = {format_value(entry)}: takes a name, or a mapping of settings")
        if not isinstance(entry.get("name"), str | None):
            raise UserError(f"{source}: {part}.name = {format_value(entry['name'])}: takes a name")
    return spelled


def _require_rows(rows: object, source: str) -> None:
    """Whether `by_method` is a table, or names one."""
    if isinstance(rows, str):
        if rows not in SECTIONS:
            raise UserError(f"{source}: by_method = {rows}: takes {' or '.join(SECTIONS)}, or rows by method")
        return
    if not isinstance(rows, dict):
        raise UserError(f"{source}: by_method = {format_value(rows)}: takes rows by method")
    for name, row in rows.items():
        if name not in METHODS.names():
            raise UserError(f"{source}: by_method.{name}: no such method{near_misses(str(name), METHODS.names())}")
        if not isinstance(row, dict):
            raise UserError(f"{source}: by_method.{name} = {format_value(row)}: takes a mapping of settings")


def shipped_layers(name: str) -> list[tuple[str, Layer]]:
    """The file that ships under this name, what it includes first."""
    return [(source, spell_out(layer, source)) for source, layer in read_layers(configs_folder() / f"{name}.yaml")]


def dataset_layers(name: str) -> list[tuple[str, Layer]]:
    """Layers that `--dataset NAME` selects: a shipped file, or a source that a plug-in registered.

    Raises:
        UserError: there is neither.
    """
    if (configs_folder() / "dataset" / f"{name}.yaml").is_file():
        return shipped_layers(f"dataset/{name}")
    if name in DATASETS.names():
        return [(f"dataset {name}", {"dataset": {"name": name, "source": name}})]
    known = [path.stem for path in (configs_folder() / "dataset").glob("*.yaml")]
    raise UserError(
        f"--dataset {name}: no such data set{near_misses(name, [*known, *DATASETS.names()])} "
        "(--dataset folder --dataset.path PATH takes a folder of images)"
    )


def _for_method(source: str, layer: Layer, method: type[Method], chosen: Layer) -> Layer:
    """The layer with its `by_method` rows of this method, and of those it is a preset of, merged in.

    Args:
        chosen: names of the parts; of a row's settings for the method's own target or loss another one gets those
            that it has as well.
    """
    merged = {key: value for key, value in layer.items() if key != "by_method"}
    for row in _rows(layer, method):
        row = spell_out(row, f"{source}: by_method")
        for part, registry in (("target", TARGETS), ("loss", LOSSES)):
            if chosen[part] is not None and "name" not in (row.get(part) or {"name": ""}):
                known = registry.get(chosen[part]["name"]).Config.model_fields
                row = {**row, part: {key: value for key, value in row[part].items() if key in known}}
        merged = merge(merged, row)
    return merged


def _rows(layer: Layer, method: type[Method]) -> list[Layer]:
    """Rows of a layer for a method and its parents, the parents' first.

    `by_method` is a table of rows by method, or the name of the section that the shipped `method/NAME.yaml` have.
    """
    rows = layer.get("by_method", {})
    names = [parent.__dict__["name"] for parent in reversed(method.__mro__) if "name" in parent.__dict__]
    if isinstance(rows, str):
        files = [configs_folder() / "method" / f"{name}.yaml" for name in names]
        return [read_layer(file).get(rows, {}) for file in files if file.is_file()]
    return [rows[name] for name in names if name in rows]


def _check_rows(layers: Sequence[tuple[str, Layer]]) -> None:
    """Every `by_method` row must be right, also those that this run does not use."""
    for source, layer in layers:
        rows = layer.get("by_method", {})
        for name, row in rows.items() if isinstance(rows, dict) else ():
            method = METHODS.get(name)
            content = merge_all(
                [*(layer for _, layer in shipped_layers("default")), spell_out(row, f"{source}: by_method.{name}")]
            )
            names = {part: (content.get(part) or {}).get("name") for part in NAMED}
            parts = {"method": {"name": name}, "dataset": {"name": names["dataset"] or DEFAULT_DATASET}}
            content = merge(content, parts | _target_and_loss(method, names))
            model = _experiment_of(method, content)
            try:
                model(**content)
            except SettingError as error:
                if error.path:  # otherwise it is about settings that other layers have a say in
                    raise UserError(f"{source}: by_method.{name}.{error}") from None


def _target_and_loss(method: type[Method], names: dict[str, str | None]) -> Layer:
    """Names of target and loss: those asked for, or the method's own."""
    target, loss = names.get("target"), names.get("loss")
    if not issubclass(method, PairMethod):
        for part, name in (("target", target), ("loss", loss)):
            if name is not None:
                raise UserError(f"--{part} {name}: {method.name} has no pairs to match, so it takes no {part}")
        return {"target": None, "loss": None}
    chosen = TARGETS.get(target or method.default_target or "")
    scored = LOSSES.get(loss) if loss is not None else choose_loss(method, chosen)
    if reason := explain_mismatch(method, chosen, scored):
        asked = [f"--{part} {name}" for part, name in (("target", target), ("loss", loss)) if name is not None]
        raise UserError(f"--method {method.name} {' '.join(asked)}".rstrip() + f": {reason}")
    return {"target": {"name": chosen.name}, "loss": {"name": scored.name}}


def _experiment_of(method: type[Method], content: Layer) -> type[Experiment]:
    """`Experiment` with the settings of the parts that `content` names."""
    fields: dict[str, Any] = {"method": (_named(method), ...)}
    for part, registry in (("target", TARGETS), ("loss", LOSSES)):
        entry = content.get(part)
        fields[part] = (type(None), None) if entry is None else (_named(registry.get(entry["name"])), ...)
    fields["augmentations"] = (augmentations_model(content.get("augmentations", {})), ...)
    return create_model("Experiment", __base__=Experiment, __doc__=Experiment.__doc__, **fields)


def augmentations_model(augmentations: object) -> type[Config]:
    """The settings of augmentations, a group for each name.

    Raises:
        UserError: it is no mapping, or a name is none.
    """
    if not isinstance(augmentations, dict):
        raise UserError(f"augmentations = {format_value(augmentations)}: takes a mapping of augmentations by name")
    for name in augmentations:
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(f"augmentations.{name}: takes letters, digits and _ as the name of an augmentation")
    fields: dict[str, Any] = dict.fromkeys(augmentations, (Augmentation, ...))
    return create_model("Augmentations", __base__=Config, **fields)


def _named(part: Any) -> type[PartConfig]:
    """The part's settings with its name filled in."""
    config: type[PartConfig] = part.Config
    name: Any = (Annotated[Literal[part.name], tyro.conf.Suppress], part.name)
    return create_model(part.__name__, __base__=config, __doc__=part.__doc__, name=name)


def _source_of(error: SettingError, layers: Sequence[tuple[str, Layer]]) -> str:
    """The uppermost layer that has the setting that the error is about, as the beginning of a message."""
    for source, layer in reversed(layers):
        here: Any = layer
        for part in error.path:
            here = here.get(part) if isinstance(here, dict) else None
        if error.path and here is not None:
            return f"{source}: "
    return ""


def _description() -> str:
    choices = {"method": METHODS.names(), "target": TARGETS.names(), "loss": LOSSES.names()}
    lines = [f"  --{part} NAME  ({', '.join(names)})" for part, names in choices.items()]
    datasets = [name.removeprefix("dataset/") for name in config_names("dataset")]
    return "\n".join(
        [
            Experiment.__doc__ or "",
            "",
            "Names come first and bring their own settings:",
            *lines,
            "  --backbone NAME (any timm model)   --optimizer NAME (any of timm's)",
            f"  --dataset NAME ({', '.join(datasets)})",
            "  --config FILE-OR-NAME ...  --plugin FILE ...  --resume RUN-OR-auto  --print-config",
            "",
            "Other commands; each has a --help:",
            "  evaluate RUN       score a trained encoder by other protocols, or weights of other projects",
            "  compare            run methods over seeds, and write the page that compares them",
            "  plan               what a run would take, where its time goes, and what would help",
            "  list               methods, targets, losses, data sets and protocols, a line each",
            "  describe NAME      a part's settings, their defaults, and its paper",
            "  new KIND NAME      write a custom part to start from, and its test",
            "  check NAME ...     run the checks of built-in parts on custom ones",
        ]
    )
