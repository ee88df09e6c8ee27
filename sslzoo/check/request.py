"""The arguments of `run.py check`."""

from argparse import Namespace
from collections.abc import Sequence

from sslzoo.config.arguments import ArgumentParser

DESCRIPTION = "Check parts: shapes, gradients, precision, order, state, two processes, and collapse in training."


def parse_request(words: Sequence[str]) -> Namespace:
    """The arguments of the command.

    Raises:
        UserError: an unknown flag, or a value that it cannot have.
    """
    parser = ArgumentParser(prog="run.py check", description=DESCRIPTION)
    parser.add_argument("names", nargs="*", help="methods, targets or losses, as `list` shows them")
    parser.add_argument("--all", action="store_true", help="every part")
    parser.add_argument(
        "--plugin", nargs="+", action="extend", default=[], metavar="FILE", help="files that register custom parts"
    )
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps on the digits (default 200; 0: none)")
    return parser.parse_args(list(words))
