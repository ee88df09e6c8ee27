"""Lists and descriptions of methods, targets, losses, data sets and protocols."""

import inspect
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from pydantic import BaseModel
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sslzoo.config.layers import config_names, configs_folder
from sslzoo.config.registry import Registry
from sslzoo.config.schema import PartConfig
from sslzoo.data.config import DatasetConfig
from sslzoo.data.sources import DATASETS
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.targets import TARGETS

REGISTRIES: dict[str, Registry[Any]] = {"method": METHODS, "target": TARGETS, "loss": LOSSES}


def create_parts_table() -> Table:
    """Create the table of all parts, data sets and protocols; a part that cannot be imported shows its error."""
    table = Table("kind", "name", "what it is", "source", box=None, pad_edge=False)
    for kind, registry in REGISTRIES.items():
        for name in registry.names():
            try:
                part = registry.get(name)
                table.add_row(kind, name, _first_line(part), part.paper)
            except UserError as error:
                table.add_row(kind, name, Text(str(error), style="red"), "")
    for name in list_datasets():
        try:
            table.add_row("dataset", name, _describe_dataset(name), "")
        except UserError as error:
            table.add_row("dataset", name, Text(str(error), style="red"), "")
    for config in config_names("evaluation"):
        table.add_row("protocol", config.removeprefix("evaluation/"), read_first_sentence(config), "")
    return table


def list_datasets() -> list[str]:
    """List the values of `--dataset`: shipped configs and sources of plug-ins."""
    shipped = [name.removeprefix("dataset/") for name in config_names("dataset")]
    return sorted({*shipped, *(set(DATASETS.names()) - {"huggingface"})})


def describe_part(name: str) -> Group:
    """Describe a part: documentation, paper, and settings with their defaults.

    Raises:
        UserError: no part has this name.
    """
    sections: list[Any] = []
    for kind, registry in REGISTRIES.items():
        if name in registry.names():
            part = registry.get(name)
            heading = Text(f"{name} ({kind})", style="bold")
            notes = [f"source: {part.paper}"] if part.paper else []
            notes.append(f"defined by: {registry.owner(name)}")
            if kind == "method" and part.default_target:
                notes.append(f"target: {part.default_target} (--target selects another); loss: {part.default_loss}")
            sections += [
                heading,
                inspect.getdoc(part) or "",
                *notes,
                create_settings_table(part.Config, f"--{kind}"),
                "",
            ]
    if name in list_datasets():
        heading = Text(f"{name} (dataset)", style="bold")
        owner = DATASETS.owner(name)
        notes = [f"defined by: {owner}"] if owner else []
        sections += [heading, _describe_dataset(name), *notes, create_settings_table(DatasetConfig, "--dataset"), ""]
    if not sections:
        known = [*(n for registry in REGISTRIES.values() for n in registry.names()), *list_datasets()]
        raise UserError(f"describe {name}: no part has that name{near_misses(name, known)}")
    return Group(*sections[:-1])


def create_settings_table(config: type[BaseModel], prefix: str) -> Table:
    """Create the table of settings: flag, default and description."""
    table = Table("setting", "default", "what it does", box=None, pad_edge=False)
    for row in _list_settings(config, prefix):
        table.add_row(*row)
    if not table.row_count:
        table.add_row("(no settings)", "", "")
    return table


def _list_settings(
    config: type[BaseModel], prefix: str, defaults: BaseModel | None = None
) -> Iterator[tuple[str, str, str]]:
    for name, field in config.model_fields.items():
        if name == "name" and issubclass(config, PartConfig):
            continue  # set by the flag that selects the part
        flag = f"{prefix}.{name.replace('_', '-')}"
        default = field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
        if isinstance(default, BaseModel):
            yield from _list_settings(type(default), flag, default)
        else:
            yield flag, _format_default(default), field.description or ""


def _format_default(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _first_line(part: type) -> str:
    return (inspect.getdoc(part) or "").partition("\n")[0]


def read_first_sentence(config: str) -> str:
    """Read the first sentence of the comment at the top of a shipped config."""
    text = (configs_folder() / f"{config}.yaml").read_text(encoding="utf-8")
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in lines).partition(". ")[0].rstrip(".") + "."


def _describe_dataset(name: str) -> str:
    """Describe a data set in one sentence, from its shipped config or from the docstring of a plug-in's source.

    Raises:
        UserError: the plug-in cannot be imported.
    """
    if f"dataset/{name}" in config_names("dataset"):
        return read_first_sentence(f"dataset/{name}")
    return _first_line(DATASETS.get(name))
