"""The runs of a comparison: a cell for each row and seed, its config composed and checked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from pydantic import BaseModel

from sslzoo.compare.agreement import COMPARED, Settings, check_agreement, settings_of
from sslzoo.compare.request import Axis, Request
from sslzoo.config.folders import slugify
from sslzoo.experiment.compose import compose
from sslzoo.experiment.flags import NAMED
from sslzoo.experiment.schema import Experiment
from sslzoo.modules.backbones import resolve_name
from sslzoo.runtime.errors import UserError, near_misses


@dataclass(frozen=True)
class Cell:
    """One run."""

    label: str
    """Of its row, as `ascl:hard target.neighbors=5`."""
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        """Of its files and folder."""
        return f"{slugify(self.label)}-seed{self.seed}"


def create_cells(request: Request) -> list[Cell]:
    """All runs that a request needs, seed by seed, so that every method soon has a first result.

    Raises:
        UserError: a config that cannot be, a setting that no method has, two rows that are the same, or rows that do
            not belong in one table.
    """
    rows = dict(_rows(request))
    configs = {label: settings_of(experiment) for label, experiment in rows.items()}
    _check_distinct(configs)
    if not request.mixed:
        check_agreement(configs, (axis.setting for axis in request.axes))
    for experiment in rows.values():
        resolve_name(experiment.backbone, experiment.img_size)  # whether timm has it
    return [
        Cell(label, seed, experiment.model_copy(update={"seed": seed}))
        for seed in request.seeds
        for label, experiment in rows.items()
    ]


def _rows(request: Request) -> Iterator[tuple[str, Experiment]]:
    """Label and config of each row, whatever its seed."""
    groups = flag_groups(request.flags)
    shared = [words for words in groups if not _of_part(_setting(words))]
    own = [words for words in groups if _of_part(_setting(words))]
    plain = {item: [*_names(item), *_join(shared)] for item in request.methods}
    bases = {item: compose(words) for item, words in plain.items()}
    known = {item: set(setting_names(base)) for item, base in bases.items()}
    for setting in [_setting(words) for words in own] + [axis.setting for axis in request.axes]:
        _check_known(setting, known)
    for item, words in plain.items():
        mine = [group for group in own if _has(known[item], _setting(group))]
        axes = [axis for axis in request.axes if _has(known[item], axis.setting)]
        for values in product(*(axis.values for axis in axes)):
            chosen = list(zip(axes, values, strict=True))
            label = " ".join([item, *(f"{axis.setting}={value}" for axis, value in chosen)])
            more = [*_join(mine), *_flags(chosen)]
            yield label, compose([*words, *more]) if more else bases[item]


def _names(item: str) -> list[str]:
    method, colon, target = item.partition(":")
    if colon and not target:
        raise UserError(f"--methods {item}: has no target behind its colon")
    return ["--method", method, *(["--target", target] if target else [])]


def flag_groups(flags: Sequence[str]) -> list[list[str]]:
    """Each flag with its values."""
    groups: list[list[str]] = []
    for word in flags:
        if word.startswith("--"):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            raise UserError(f"compare {word}: follows no flag; --methods takes names separated by commas")
    return groups


def setting_names(settings: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, as `optimizer.lr`."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from setting_names(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _setting(words: Sequence[str]) -> str:
    return words[0].removeprefix("--").partition("=")[0]


def _of_part(setting: str) -> bool:
    return setting.partition(".")[0] in COMPARED and "." in setting


def _has(known: set[str], setting: str) -> bool:
    return setting in NAMED or setting.replace("-", "_") in known


def _check_known(setting: str, known: dict[str, set[str]]) -> None:
    if not any(_has(names, setting) for names in known.values()):
        every = {name.replace("_", "-") for names in known.values() for name in names if not name.endswith(".name")}
        hint = near_misses(setting.replace("_", "-"), every)
        raise UserError(f"{setting}: {' and '.join(known)} {_have(known)} no such setting{hint}")


def _have(items: dict[str, set[str]]) -> str:
    return "has" if len(items) == 1 else "have"


def _flags(chosen: Sequence[tuple[Axis, str]]) -> list[str]:
    return [word for axis, value in chosen for word in (f"--{axis.setting}", value)]


def _join(groups: Sequence[Sequence[str]]) -> list[str]:
    return [word for group in groups for word in group]


def _check_distinct(configs: dict[str, Settings]) -> None:
    labels = list(configs)
    for i, label in enumerate(labels):
        for other in labels[:i]:
            if configs[label] == configs[other]:
                raise UserError(f"{label}: is the same run as {other}; leave one of them out")
            if slugify(label) == slugify(other):
                raise UserError(f"{label}: its runs would be in the folders of {other}; leave one of them out")
