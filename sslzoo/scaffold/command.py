"""`run.py new`: write the template of a custom part and its test."""

import argparse
import importlib.util
import keyword
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from sslzoo.config.arguments import ArgumentParser
from sslzoo.config.layers import config_names
from sslzoo.config.registry import Registry
from sslzoo.data.sources import DATASETS
from sslzoo.report.parts import REGISTRIES
from sslzoo.runtime.errors import UserError, near_misses

NAME = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"

KINDS: dict[str, Registry[Any]] = {**REGISTRIES, "dataset": DATASETS}

TRAINING_FLAGS = {
    "method": "--method {part}",
    "target": "--method moco --target {part}",
    "loss": "--method moco --loss {part}",
    "dataset": "--dataset {part} --method moco --method.queue-size 256 --backbone resnet10t --img-size 16 "
    "--batch-size 64 --epochs 10",
}
"""Flags of a first training run."""

DESCRIPTION = """\
Write a template of a custom part, and its test:

  run.py new target my_target      what a query should match
  run.py new loss my_loss          how the student is scored against the target
  run.py new method my_method      which encoders exist and what they compare
  run.py new dataset my_images     where images come from

The template can be trained with unchanged; docs/plugins.md describes how to adapt it. No file is overwritten.
"""


@dataclass(frozen=True)
class Names:
    """Names of a part in code and on the command line."""

    module: str
    """Name of the file: `my_target`."""

    @property
    def part(self) -> str:
        """Name on the command line: `my-target`."""
        return self.module.replace("_", "-")

    @property
    def class_name(self) -> str:
        """Name of the class: `MyTarget`."""
        return "".join(word.capitalize() for word in self.module.split("_"))


def new(words: Sequence[str]) -> int:
    """Write the two files and print the next commands.

    Returns:
        The exit status, 0.

    Raises:
        UserError: kind or name is invalid, or a file exists or cannot be written; nothing is written then.
        SystemExit: after `--help`.
    """
    kind, names, folder = _parse(words)
    part, test = folder / f"{names.module}.py", folder / f"test_{names.module}.py"
    contents = {part: render(f"new_{kind}.py", kind, names), test: render(f"test_new_{kind}.py", kind, names)}
    _check_free(kind, names, contents)
    write_files(contents)
    commands = list_next_commands(kind, names, part, test)
    print(f"{part}: a {kind.replace('dataset', 'data set')} to start from\n{test}: its test\n\nWhat to do next:")
    width = max(map(len, commands))
    for what, command in commands.items():
        print(f"  {what:<{width}}  {command}")
    return 0


def list_next_commands(kind: str, names: Names, part: Path, test: Path) -> dict[str, str]:
    """List the next commands by purpose."""
    program, plugin = _program(), ["--plugin", str(part)]
    commands = {
        "test it": ["python", "-m", "pytest", str(test)],
        "train with it": [*program, *plugin, *TRAINING_FLAGS[kind].format(part=names.part).split()],
        "see its settings": [*program, "describe", names.part, *plugin],
    }
    if kind in REGISTRIES:
        commands["check it"] = [*program, "check", names.part, *plugin]
    return {what: shlex.join(words) for what, words in commands.items()}


def render(file: str, kind: str, names: Names) -> str:
    """Render a template with the names of the new part."""
    text = _read_template(file)
    template = Names(f"new_{kind}")
    for name in ("module", "part", "class_name"):
        text = text.replace(getattr(template, name), getattr(names, name))
    return text


def _read_template(file: str) -> str:
    return (files("sslzoo.scaffold") / "templates" / file).read_text(encoding="utf-8")


def write_files(contents: Mapping[Path, str]) -> None:
    """Write new files, all or none.

    Raises:
        UserError: a file exists or cannot be written.
    """
    written: list[Path] = []
    try:
        for path, content in contents.items():
            path.parent.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink()
        raise UserError(f"new: {error.filename or path}: cannot be written: {error.strerror}") from error


def _parse(words: Sequence[str]) -> tuple[str, Names, Path]:
    """Parse kind, names and folder.

    Raises:
        UserError: kind or name is missing or invalid.
        SystemExit: after `--help`.
    """
    parser = ArgumentParser(
        prog="run.py new",
        usage="run.py new KIND NAME [--folder FOLDER]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", nargs="?", metavar="NAME", help="lower-case words joined by _ or -")
    parser.add_argument("--folder", type=Path, default=Path(), help="folder of the files (default: the current folder)")
    asked = parser.parse_args(list(words))
    if asked.kind is None:
        raise UserError("new: requires a kind and a name, as in `new target my_target`; kinds are " + ", ".join(KINDS))
    if asked.kind not in KINDS:
        raise UserError(f"new {asked.kind}: no such kind of part{near_misses(asked.kind, KINDS)}")
    if asked.name is None:
        raise UserError(f"new {asked.kind}: requires a name, as in `new {asked.kind} my_{asked.kind}`")
    return asked.kind, _parse_name(asked.kind, asked.name), asked.folder


def _parse_name(kind: str, name: str) -> Names:
    module = name.replace("-", "_")
    if not re.fullmatch(NAME, module):
        words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", Path(name).stem).lower()).strip("_")
        example = words if re.fullmatch(NAME, words) else f"my_{kind}"
        raise UserError(f"new {kind} {name}: a name consists of lower-case words joined by _ or -, as in {example}")
    if keyword.iskeyword(module):
        raise UserError(f"new {kind} {name}: is a keyword of Python; use my_{module}")
    return Names(module)


def _check_free(kind: str, names: Names, contents: Mapping[Path, str]) -> None:
    """Check that files, part, module and class of these names do not exist yet.

    Raises:
        UserError: one exists.
    """
    asked = f"new {kind} {names.module}"
    for path in contents:
        if os.path.lexists(path):
            raise UserError(f"{asked}: {path} already exists and is not overwritten")
    owner = KINDS[kind].owner(names.part)
    if kind == "dataset" and f"dataset/{names.part}" in config_names("dataset"):
        owner = f"the built-in config dataset/{names.part}"
    if owner is not None:
        raise UserError(f"{asked}: the {kind} {names.part} already exists, defined by {owner}")
    found = importlib.util.find_spec(names.module)
    if found is not None and found.origin is not None:
        raise UserError(f"{asked}: {names.module}.py would shadow the module of that name ({found.origin})")
    imported = re.findall(r"^from .* import (.*)$", _read_template(f"new_{kind}.py"), flags=re.MULTILINE)
    if names.class_name in ", ".join(imported).split(", "):
        raise UserError(f"{asked}: its class would shadow {names.class_name}, which it imports")


def _program() -> list[str]:
    """Return the words that start this program."""
    started = Path(sys.argv[0])
    if started.name == "sslzoo":
        return ["sslzoo"]
    return ["python", sys.argv[0]] if started.name == "run.py" else ["python", "-m", "sslzoo"]
