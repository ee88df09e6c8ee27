"""What `compare` is asked for on the command line."""

import argparse
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sslzoo.config.arguments import ArgumentParser
from sslzoo.runtime.errors import UserError

DESCRIPTION = """\
Train methods on the same backbone, data, budget and seeds, one run after another, and write a page that compares them:

  run.py compare --methods moco,ascl:hard,ascl --seeds 3 --dataset cifar10 --backbone resnet18 --epochs 200
  run.py compare --methods ascl --vary target.neighbors=1,5,10 --vary target.temperature=0.05,0.1
  run.py compare --runs runs/moco-0 runs/moco-1 runs/ascl-0 runs/ascl-1 --baseline moco

The same command resumes where it stopped, and rewrites the page when all runs are finished.
"""

EPILOG = """\
Every other flag is one of training (`run.py --help` lists them) and holds for all runs; one of a method's, target's or
loss's own settings holds for the methods that have it.
"""

INSTEAD = {
    "--method": "--methods takes the names, as in --methods moco,ascl",
    "--target": "give the target after its method, as in --methods moco:hard",
    "--seed": "--seeds takes the seeds, as in --seeds 0,1,2",
    "--run-folder": "--folder is the folder of all runs",
    "--output": "--folder is the folder of all runs",
    "--resume": "the same command resumes where it stopped",
    "--print-config": "the configs are written below --folder",
}
"""Flags of one run, and what a comparison has instead."""


@dataclass(frozen=True)
class Axis:
    """A setting that differs between rows."""

    setting: str
    """As its flag, without the leading dashes: `target.neighbors`."""
    values: tuple[str, ...]
    """As words of the command line; none where finished runs are compared."""


@dataclass(frozen=True)
class Request:
    """The arguments of `compare`."""

    methods: tuple[str, ...]
    """NAME or NAME:TARGET."""
    seeds: tuple[int, ...]
    axes: tuple[Axis, ...]
    runs: tuple[Path, ...]
    """Folders of finished runs to compare, instead of `methods`."""
    baseline: str | None
    """The label that differences are taken to; None is the first row's."""
    folder: Path | None
    launch: tuple[str, ...]
    """Words before `-m sslzoo ...`; none starts Python."""
    mixed: bool
    flags: tuple[str, ...]
    """Flags of training, for all runs."""
    words: tuple[str, ...]
    """All of it, as it was given."""

    @property
    def command(self) -> str:
        """What to type to repeat it."""
        return shlex.join(["python", "run.py", "compare", *self.words])


def parse_request(words: Sequence[str]) -> Request:
    """Read the arguments.

    Raises:
        UserError: one is missing, or has a value that it cannot have.
        SystemExit: after `--help`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "compare: starts its runs itself, so it is to be one process: `python run.py compare ...`, with the "
            'launcher of the runs in --launch "accelerate launch --multi_gpu --num_processes 8"'
        )
    asked, flags = _parser().parse_known_args(list(words))
    for flag in flags:
        name = flag.partition("=")[0]
        if name in INSTEAD:
            raise UserError(f"compare {name}: {INSTEAD[name]}")
    axes = tuple(_axis(text, with_values=not asked.runs) for text in asked.vary)
    if asked.runs and (asked.methods or flags or asked.launch):
        other = "--methods" if asked.methods else flags[0] if flags else "--launch"
        raise UserError(f"compare --runs: takes finished runs as they are, so {other} does not go with it")
    if not asked.runs and not asked.methods:
        raise UserError("compare: takes --methods, as in --methods moco,ascl, or --runs with folders of finished runs")
    for setting in (names := [axis.setting for axis in axes]):
        if names.count(setting) > 1:
            raise UserError(f"--vary {setting}: is given twice; one takes all values, as in --vary {setting}=1,5")
    return Request(
        methods=_distinct("--methods", asked.methods or "") if asked.methods else (),
        seeds=_seeds(asked.seeds),
        axes=axes,
        runs=tuple(asked.runs),
        baseline=asked.baseline,
        folder=asked.folder,
        launch=tuple(shlex.split(asked.launch or "")),
        mixed=asked.mixed,
        flags=tuple(flags),
        words=tuple(words),
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="run.py compare",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--methods", metavar="NAME[:TARGET],...", help="the methods, with their own target or the one after a colon")
    add("--seeds", default="3", metavar="N", help="3 is the seeds 0, 1 and 2; 0,4,7 is just these (default: 3)")
    add(
        "--vary", action="append", default=[], metavar="SETTING=A,B",
        help="values of a setting, spelled as its flag; a row for each, or for each combination when given again; "
        "methods without the setting stay one row. With --runs: SETTING alone, which may differ between rows",
    )  # fmt: skip
    add("--runs", nargs="+", type=Path, default=[], metavar="RUN", help="finished runs, instead of --methods")
    add("--baseline", metavar="LABEL", help="the row that the others are compared with (default: the first)")
    add("--folder", type=Path, help="where runs and page go (default: one below comparisons/)")
    add("--launch", metavar="WORDS", help='what starts a run, as in "accelerate launch --multi_gpu --num_processes 8"')
    add(
        "--mixed",
        action="store_true",
        help="allow rows with another data set, budget, backbone, ...; the table lists them",
    )
    return parser


def _axis(text: str, *, with_values: bool) -> Axis:
    setting, equals, values = text.partition("=")
    setting = setting.removeprefix("--")
    if not with_values:
        if equals:
            raise UserError(f"--vary {text}: finished runs have their values; --vary {setting} lets them differ")
        return Axis(setting, ())
    if not setting or not values:
        raise UserError(f"--vary {text}: takes a setting and its values, as in --vary target.neighbors=1,5,10")
    if setting in ("method", "target", "seed"):
        raise UserError(f"--vary {text}: {INSTEAD[f'--{setting}']}")
    return Axis(setting, _distinct(f"--vary {setting}=", values))


def _distinct(what: str, text: str) -> tuple[str, ...]:
    """The words between the commas.

    Raises:
        UserError: one is empty, or there twice.
    """
    items = tuple(item.strip() for item in text.split(","))
    for item in items:
        if not item:
            raise UserError(f"{what} {text}: has an empty item between its commas")
        if items.count(item) > 1:
            raise UserError(f"{what} {text}: has {item} twice")
    return items


def _seeds(text: str) -> tuple[int, ...]:
    items = _distinct("--seeds", text)
    if not all(item.isdecimal() for item in items):
        raise UserError(f"--seeds {text}: takes how many, as in --seeds 3, or which, as in --seeds 0,4,7")
    numbers = tuple(int(item) for item in items)
    if len(numbers) > 1:
        return numbers
    if numbers[0] == 0:
        raise UserError("--seeds 0: takes at least 1")
    return tuple(range(numbers[0]))
