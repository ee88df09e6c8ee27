"""Compose and check the configs of a comparison: one cell per row and seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import BaseModel

from sslzoo.comparison.agreement import COMPARED_PARTS, Settings, check_agreement, comparable_settings
from sslzoo.comparison.request import Axis, Request
from sslzoo.config.folders import slugify
from sslzoo.config.layers import Layer
from sslzoo.experiment.compose import compose
from sslzoo.experiment.flags import PART_FLAGS
from sslzoo.experiment.schema import Experiment
from sslzoo.experiment.settings import nest_settings
from sslzoo.modules.backbones import resolve_name
from sslzoo.runtime.errors import UserError, near_misses


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    label: str
    """Label of the row, such as `ascl:hard target.neighbors=5`."""
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        """Name of the run's files and folder."""
        return f"{slugify(self.label)}-seed{self.seed}"


def create_cells(request: Request) -> list[Cell]:
    """Create the runs of a request, ordered by seed so that every method gets a first result early.

    Raises:
        UserError: a config is invalid, no method has a setting, two rows are equal, or rows are not comparable.
    """
    rows = dict(_compose_rows(request))
    configs = {label: comparable_settings(experiment) for label, experiment in rows.items()}
    _check_distinct(configs)
    if not request.mixed:
        check_agreement(configs, (axis.setting for axis in request.axes))
    for experiment in rows.values():
        resolve_name(experiment.backbone, experiment.img_size)  # raises if timm does not have it
    return [
        Cell(label, seed, experiment.model_copy(update={"seed": seed}))
        for seed in request.seeds
        for label, experiment in rows.items()
    ]


def _compose_rows(request: Request) -> Iterator[tuple[str, Experiment]]:
    """Compose the config of each row, by label; the seed is set later."""
    groups = group_flags(request.flags)
    shared = [words for words in groups if not _is_part_setting(_setting_name(words))]
    part_groups = [words for words in groups if _is_part_setting(_setting_name(words))]
    settings = flatten_layer(nest_settings(request.settings))
    shared_settings = {name: value for name, value in settings.items() if not _is_part_setting(name)}
    part_settings = {name: value for name, value in settings.items() if _is_part_setting(name)}
    base_flags = {item: [*_method_flags(item), *_flatten(shared)] for item in request.methods}
    bases = {item: compose(words, shared_settings) for item, words in base_flags.items()}
    known = {item: set(list_settings(base)) for item, base in bases.items()}
    for setting in [*map(_setting_name, part_groups), *part_settings, *(axis.setting for axis in request.axes)]:
        _check_known(setting, known)
    for item, words in base_flags.items():
        own = [group for group in part_groups if _has(known[item], _setting_name(group))]
        own_settings = {name: value for name, value in part_settings.items() if _has(known[item], name)}
        axes = [axis for axis in request.axes if _has(known[item], axis.setting)]
        for values in product(*(axis.values for axis in axes)):
            chosen = list(zip(axes, values, strict=True))
            label = " ".join([item, *(f"{axis.setting}={value}" for axis, value in chosen)])
            more = [*_flatten(own), *_axis_flags(chosen)]
            changed = more or own_settings
            yield label, compose([*words, *more], shared_settings | own_settings) if changed else bases[item]


def flatten_layer(layer: Layer, prefix: str = "") -> dict[str, Any]:
    """Map the dotted name of each setting in a layer to its value; that of a part's name is the part."""
    flat: dict[str, Any] = {}
    for name, value in layer.items():
        if isinstance(value, dict) and name != "kwargs":
            flat |= flatten_layer(value, f"{prefix}{name}.")
        else:
            flat[prefix.removesuffix(".") if name == "name" and prefix else prefix + name] = value
    return flat


def _method_flags(item: str) -> list[str]:
    method, colon, target = item.partition(":")
    if colon and not target:
        raise UserError(f"--methods {item}: the target after the colon is missing")
    return ["--method", method, *(["--target", target] if target else [])]


def group_flags(flags: Sequence[str]) -> list[list[str]]:
    """Group the words of a command line into flags with their values."""
    groups: list[list[str]] = []
    for word in flags:
        if word.startswith("--"):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            raise UserError(f"compare {word}: does not follow a flag; --methods takes names separated by commas")
    return groups


def list_settings(settings: BaseModel, prefix: str = "") -> Iterator[str]:
    """List the dotted names of all settings, such as `optimizer.lr`."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from list_settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _setting_name(words: Sequence[str]) -> str:
    return words[0].removeprefix("--").partition("=")[0]


def _is_part_setting(setting: str) -> bool:
    return setting.partition(".")[0] in COMPARED_PARTS and "." in setting


def _has(known: set[str], setting: str) -> bool:
    return setting in PART_FLAGS or setting.replace("-", "_") in known


def _check_known(setting: str, known: dict[str, set[str]]) -> None:
    if not any(_has(names, setting) for names in known.values()):
        every = {name.replace("_", "-") for names in known.values() for name in names if not name.endswith(".name")}
        hint = near_misses(setting.replace("_", "-"), every)
        raise UserError(f"{setting}: {' and '.join(known)} {_verb(known)} no such setting{hint}")


def _verb(items: dict[str, set[str]]) -> str:
    return "has" if len(items) == 1 else "have"


def _axis_flags(chosen: Sequence[tuple[Axis, str]]) -> list[str]:
    return [word for axis, value in chosen for word in (f"--{axis.setting}", value)]


def _flatten(groups: Sequence[Sequence[str]]) -> list[str]:
    return [word for group in groups for word in group]


def _check_distinct(configs: dict[str, Settings]) -> None:
    labels = list(configs)
    for i, label in enumerate(labels):
        for other in labels[:i]:
            if configs[label] == configs[other]:
                raise UserError(f"{label}: is the same run as {other}; remove one of them")
            if slugify(label) == slugify(other):
                raise UserError(
                    f"{label}: its run folders would have the same names as those of {other}; remove one of them"
                )
