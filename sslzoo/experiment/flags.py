"""Flags: their help, the values they accept, and their errors in one line."""

import contextlib
import difflib
import io
import re
from typing import TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from sslzoo.config.schema import Config
from sslzoo.runtime.errors import UserError

Settings = TypeVar("Settings", bound=Config)

NAMED = ("method", "target", "loss", "backbone", "dataset", "optimizer")
"""Parts that a flag of their own name chooses: `--method byol`, beside `--method.momentum 0.996`."""

READ_FIRST = (
    *NAMED, "config", "plugin", "resume", "print-config", "protocol", "checkpoint", "pretrained", "seconds", "no-tries",
)  # fmt: skip
"""Flags that are read before the others."""

RULES = ConstructorRegistry()
"""How flags become values, where tyro's own way is not wanted."""


@RULES.primitive_rule
def _switches(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[bool] | None:
    """`--compile`, `--compile true` and `--compile false` alike."""
    if kind.type is not bool:
        return None
    return PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[{true,false}]",
        instance_from_str=_switch,
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    )


def _switch(words: list[str]) -> bool:
    match [word.lower() for word in words]:
        case [] | ["true"]:
            return True
        case ["false"]:
            return False
    raise ValueError(f"{' '.join(words)!r} is neither true nor false")


def parse_flags(model: type[Settings], default: Settings, flags: list[str], prog: str, description: str) -> Settings:
    """The settings of `default`, with those that flags name changed.

    Args:
        description: what `--help` begins with.

    Raises:
        UserError: an unknown flag, or a value that it cannot have.
        SystemExit: after `--help`.
    """
    if not flags:  # tyro reads the sources of all settings for their help, which takes longer than all else
        return default
    boxes = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxes):
            return tyro.cli(
                model,
                default=default,
                args=flags,
                prog=prog,
                description=description,
                config=(tyro.conf.FlagConversionOff,),
                registry=RULES,
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise UserError(_one_line(boxes.getvalue(), default)) from None


def _one_line(box: str, default: Config) -> str:
    """tyro's boxed error as one line: the fault, and near misses among the flags."""
    rows = [re.sub(r"^[│╭╰─╮╯|+\s]+|[│╭╰─╮╯|+\s]+$", "", row) for row in box.splitlines()]
    rows = ["" if set(row) == {"-"} else row for row in rows]  # a line across an ASCII box
    text = "\n".join(rows[1:])  # the first row is the box's title
    fault = (
        " ".join(text.partition("\n\n")[0].split())
        .removeprefix("Error parsing ")
        .removeprefix("Experiment: ")
        .removeprefix("Job: ")
    )
    fault = re.sub(r"^([\w.-]+): ([\w.]+ = )", r"\1.\2", fault)  # "method: queue_size = 0" is about method.queue_size
    fault = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"\1 is not a whole number", fault)
    fault = re.sub(r"could not convert string to float: (.*)", r"\1 is not a number", fault)
    meant = re.findall(r"^(--[\w.-]+)", text.partition("Perhaps you meant:")[2], flags=re.MULTILINE)
    unknown = re.match(r"Unrecognized options: (--[\w.-]+)", fault)
    if unknown:  # tyro does not know the flags that are read before it
        meant += difflib.get_close_matches(unknown[1], [f"--{flag}" for flag in READ_FIRST], n=2, cutoff=0.75)
        meant = difflib.get_close_matches(unknown[1], meant, n=3, cutoff=0)
    if unknown and not meant:
        return fault + _settings_there_are(unknown[1], default)
    hint = f"; did you mean {' or '.join(dict.fromkeys(meant))}?" if meant else ""
    return fault + hint


def _settings_there_are(flag: str, default: Config) -> str:
    """`"; simclr has --method.views, ..."` for a flag of a part that the part does not have."""
    group = flag.removeprefix("--").partition(".")[0]
    part = getattr(default, group.replace("-", "_"), None)
    if not isinstance(part, Config):
        return ""
    names = [f"--{group}.{name}".replace("_", "-") for name in type(part).model_fields if name != "name"]
    return f"; {getattr(part, 'name', group)} has {', '.join(names)}"
