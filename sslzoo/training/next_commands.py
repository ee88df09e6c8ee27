"""Suggest what to do with a finished run."""

import shlex
import sys
from pathlib import Path

NEXT_COMMANDS = {
    "evaluate": "other protocols and data sets",
    "embed": "features of your images",
    "card": "a model card to share it",
}
"""Commands that take a run, and what each is for."""


def describe_next_commands(run: Path) -> str:
    """Describe the next commands for a run, in one line for each."""
    program, width = describe_program(), max(map(len, NEXT_COMMANDS))
    lines = (f"  {program} {name:{width}} {shlex.quote(str(run))}    # {use}" for name, use in NEXT_COMMANDS.items())
    return "\n".join(["next:", *lines])


def describe_program() -> str:
    """Return the words that start this program: `python run.py` in a checkout, else `sslzoo`."""
    return "python run.py" if Path(sys.argv[0]).name == "run.py" else "sslzoo"
