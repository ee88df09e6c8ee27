"""Parse the flags of settings, with help, and with errors in one line."""

import contextlib
import difflib
import io
import re
from collections.abc import Iterable
from typing import TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sslzoo.config.schema import Config
from sslzoo.runtime.errors import UserError

Settings = TypeVar("Settings", bound=Config)

PART_FLAGS = ("method", "target", "loss", "backbone", "dataset", "optimizer")
"""Flags that choose a part by name, such as `--method byol`; its settings are `--method.momentum` and so on."""

READ_FIRST = (
    *PART_FLAGS,
    *("config", "plugin", "resume", "print-config", "protocol", "checkpoint", "pretrained", "seconds", "no-tries"),
)
"""Flags that are parsed before those of settings; tyro does not know them."""

CONSTRUCTORS = ConstructorRegistry()
"""Parsers that replace those of tyro."""


@CONSTRUCTORS.primitive_rule
def _construct_switch(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[bool] | None:
    """Parse `--compile`, `--compile true` and `--compile false`."""
    if kind.type is not bool:
        return None
    return PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[{true,false}]",
        instance_from_str=_parse_switch,
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    )


def _parse_switch(words: list[str]) -> bool:
    match [word.lower() for word in words]:
        case [] | ["true"]:
            return True
        case ["false"]:
            return False
    raise ValueError(f"{' '.join(words)!r} must be true or false")


def parse_flags(model: type[Settings], default: Settings, flags: list[str], prog: str, description: str) -> Settings:
    """Parse the flags of settings.

    Args:
        model: schema of the settings.
        default: values of settings without a flag.
        flags: such as `["--epochs", "100"]`.
        prog: name of the program in the text of `--help`.
        description: text with which `--help` begins.

    Raises:
        UserError: a flag is unknown, or a value is invalid.
        SystemExit: after `--help`.
    """
    if not flags:  # tyro would parse the source code of all settings for their help, which is slow
        return default
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                model,
                default=default,
                args=flags,
                prog=prog,
                description=description,
                config=(tyro.conf.FlagConversionOff,),
                registry=CONSTRUCTORS,
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise UserError(_shorten_error(printed.getvalue(), default)) from None


def has_flag(flags: Iterable[str], setting: str) -> bool:
    """Whether a command line sets a setting, such as `schedule.warmup_epochs`, or one of a group of settings."""
    names = (flag[2:].partition("=")[0].replace("-", "_") for flag in flags if flag.startswith("--"))
    return any(f"{name}.".startswith(f"{setting}.") for name in names)


def _shorten_error(box: str, default: Config) -> str:
    """Shorten tyro's error, a box of several lines, to one line: the error, and similar flags."""
    rows = [re.sub(r"^[│╭╰─╮╯|+\s]+|[│╭╰─╮╯|+\s]+$", "", row) for row in box.splitlines()]
    rows = ["" if set(row) == {"-"} else row for row in rows]  # a horizontal line within an ASCII box
    text = "\n".join(rows[1:])  # the first row is the title of the box
    error = (
        " ".join(text.partition("\n\n")[0].split())
        .removeprefix("Error parsing ")
        .removeprefix("Experiment: ")
        .removeprefix("Job: ")
    )
    error = re.sub(r"^([\w.-]+): ([\w.]+ = )", r"\1.\2", error)  # "method: queue_size = 0" to "method.queue_size = 0"
    error = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"\1 is not a whole number", error)
    error = re.sub(r"could not convert string to float: (.*)", r"\1 is not a number", error)
    similar = re.findall(r"^(--[\w.-]+)", text.partition("Perhaps you meant:")[2], flags=re.MULTILINE)
    unknown = re.match(r"Unrecognized options: (--[\w.-]+)", error)
    if unknown:
        settings = [name for name in type(default).model_fields if not isinstance(getattr(default, name), Config)]
        top = [f"--{name}".replace("_", "-") for name in (*READ_FIRST, *settings)]
        similar += difflib.get_close_matches(unknown[1], top, n=2, cutoff=0.75)
        similar = difflib.get_close_matches(unknown[1], similar, n=3, cutoff=0)
    if unknown and not similar:
        return error + _list_settings(unknown[1], default)
    hint = f"; did you mean {' or '.join(dict.fromkeys(similar))}?" if similar else ""
    return error + hint


def _list_settings(flag: str, default: Config) -> str:
    """List the settings of the part that an unknown flag belongs to, as in `; simclr has --method.views, ...`."""
    group = flag.removeprefix("--").partition(".")[0]
    part = getattr(default, group.replace("-", "_"), None)
    if not isinstance(part, Config):
        return ""
    names = [f"--{group}.{name}".replace("_", "-") for name in type(part).model_fields if name != "name"]
    return f"; {getattr(part, 'name', group)} has {', '.join(names)}"
