"""Command-line arguments of `run.py compare`."""

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslzoo.config.arguments import ArgumentParser
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.paths import shorten_paths

DESCRIPTION = """\
Train methods with the same backbone, data, budget and seeds, one run after another, and write a page of results:

  run.py compare --methods moco,ascl:hard,ascl --seeds 3 --dataset cifar10 --backbone resnet18 --epochs 200
  run.py compare --methods ascl --vary target.neighbors=1,5,10 --vary target.temperature=0.05,0.1
  run.py compare --runs runs/moco-0 runs/moco-1 runs/ascl-0 runs/ascl-1 --baseline moco

Repeat the command to resume; it rewrites the page when all runs are finished.
"""

EPILOG = """\
All training flags (listed by `run.py --help`) apply to all runs; a setting of a method, target or loss applies to the
methods that have it.
"""

REPLACEMENTS = {
    "--method": "--methods takes the names, as in --methods moco,ascl",
    "--target": "give the target after its method, as in --methods moco:hard",
    "--seed": "--seeds takes the seeds, as in --seeds 0,1,2",
    "--run-folder": "--folder is the folder of all runs",
    "--output": "--folder is the folder of all runs",
    "--resume": "repeat the same command to resume",
    "--print-config": "the configs are written to --folder",
}
"""Flags of a single run, and their replacements in a comparison."""


@dataclass(frozen=True)
class Axis:
    """A setting that differs between rows."""

    setting: str
    """The flag without leading dashes, such as `target.neighbors`."""
    values: tuple[str, ...]
    """Values as on the command line; empty if finished runs are compared."""


@dataclass(frozen=True)
class Request:
    """The arguments of `compare`."""

    methods: tuple[str, ...]
    """`NAME` or `NAME:TARGET` of each row."""
    seeds: tuple[int, ...]
    axes: tuple[Axis, ...]
    runs: tuple[Path, ...]
    """Folders of finished runs to compare, instead of `methods`."""
    baseline: str | None
    """Label of the row that others are compared with; None for the first row."""
    folder: Path | None
    launch: tuple[str, ...]
    """Words before `-m sslzoo ...`; the current Python if empty."""
    mixed: bool
    flags: tuple[str, ...]
    """Training flags for all runs."""
    words: tuple[str, ...]
    """All arguments as given."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Training settings for all runs, given in Python; see `compose`."""
    call: str = ""
    """The call in Python that requests the comparison; empty for the command line."""

    @property
    def command(self) -> str:
        """The command line, or the call in Python, that repeats the comparison."""
        return shorten_paths(self.call or shlex.join(["python", "run.py", "compare", *self.words]))


def parse_request(words: Sequence[str]) -> Request:
    """Parse the arguments.

    Raises:
        UserError: an argument is missing or invalid.
        SystemExit: after `--help`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "compare: must be a single process, because it starts the runs: use `python run.py compare ...` with the "
            'launcher of the runs in --launch "accelerate launch --multi_gpu --num_processes 8"'
        )
    asked, flags = _create_parser().parse_known_args(list(words))
    for flag in flags:
        require_shared(flag.partition("=")[0])
    axes = tuple(_parse_axis(text, with_values=not asked.runs) for text in asked.vary)
    if asked.runs and (asked.methods or flags or asked.launch):
        other = "--methods" if asked.methods else flags[0] if flags else "--launch"
        raise UserError(f"compare --runs: takes finished runs, so {other} is not allowed")
    if not asked.runs and not asked.methods:
        raise UserError(
            "compare: requires --methods, as in --methods moco,ascl, or --runs with folders of finished runs"
        )
    for setting in (names := [axis.setting for axis in axes]):
        if names.count(setting) > 1:
            raise UserError(f"--vary {setting}: is given twice; give all values at once, as in --vary {setting}=1,5")
    return Request(
        methods=_split_items("--methods", asked.methods or "") if asked.methods else (),
        seeds=_parse_seeds(asked.seeds),
        axes=axes,
        runs=tuple(asked.runs),
        baseline=asked.baseline,
        folder=asked.folder,
        launch=tuple(shlex.split(asked.launch or "")),
        mixed=asked.mixed,
        flags=tuple(flags),
        words=tuple(words),
    )


def require_shared(flag: str) -> None:
    """Check that a flag, such as `--epochs`, can apply to all runs.

    Raises:
        UserError: it belongs to a single run.
    """
    if flag in REPLACEMENTS:
        raise UserError(f"compare {flag}: {REPLACEMENTS[flag]}")


def _create_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="run.py compare",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--methods", metavar="NAME[:TARGET],...", help="the methods, with their default target or the one after a colon"
    )
    add("--seeds", default="3", metavar="N", help="3 means the seeds 0, 1 and 2; 0,4,7 means these seeds (default: 3)")
    add(
        "--vary", action="append", default=[], metavar="SETTING=A,B",
        help="values of a setting, spelled as its flag without dashes; one row per value, or per combination if "
        "repeated; methods without the setting stay one row. With --runs: SETTING alone may differ between rows",
    )  # fmt: skip
    add("--runs", nargs="+", type=Path, default=[], metavar="RUN", help="finished runs, instead of --methods")
    add("--baseline", metavar="LABEL", help="the row that the others are compared with (default: the first)")
    add("--folder", type=Path, help="folder of runs and page (default: a folder in comparisons/)")
    add("--launch", metavar="WORDS", help='launcher of a run, as in "accelerate launch --multi_gpu --num_processes 8"')
    add(
        "--mixed",
        action="store_true",
        help="allow rows with another data set, budget, backbone, ...; the table lists them",
    )
    return parser


def _parse_axis(text: str, *, with_values: bool) -> Axis:
    setting, equals, values = text.partition("=")
    setting = setting.removeprefix("--")
    if not with_values:
        if equals:
            raise UserError(
                f"--vary {text}: finished runs already have their values; --vary {setting} allows them to differ"
            )
        return Axis(setting, ())
    if not setting or not values:
        raise UserError(f"--vary {text}: takes a setting and its values, as in --vary target.neighbors=1,5,10")
    if setting in ("method", "target", "seed"):
        raise UserError(f"--vary {text}: {REPLACEMENTS[f'--{setting}']}")
    return Axis(setting, _split_items(f"--vary {setting}=", values))


def _split_items(what: str, text: str) -> tuple[str, ...]:
    """Split a text at its commas.

    Raises:
        UserError: an item is empty or repeated.
    """
    items = tuple(item.strip() for item in text.split(","))
    for item in items:
        if not item:
            raise UserError(f"{what} {text}: has an empty item between its commas")
        if items.count(item) > 1:
            raise UserError(f"{what} {text}: has {item} twice")
    return items


def _parse_seeds(text: str) -> tuple[int, ...]:
    items = _split_items("--seeds", text)
    if not all(item.isdecimal() for item in items):
        raise UserError(f"--seeds {text}: must be a number of seeds, as in --seeds 3, or a list, as in --seeds 0,4,7")
    numbers = tuple(int(item) for item in items)
    if len(numbers) > 1:
        return numbers
    if numbers[0] == 0:
        raise UserError("--seeds 0: must be at least 1")
    return tuple(range(numbers[0]))
