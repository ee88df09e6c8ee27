"""Command-line arguments of `run.py check`."""

from argparse import Namespace
from collections.abc import Sequence

from sslzoo.config.arguments import ArgumentParser

DESCRIPTION = "Check parts: shapes, gradients, precision, order, state, two processes, and collapse in training."


def parse_request(words: Sequence[str]) -> Namespace:
    """Parse the arguments of the command.

    Raises:
        UserError: a flag is unknown, or its value is invalid.
        SystemExit: after `--help`.
    """
    parser = ArgumentParser(prog="run.py check", description=DESCRIPTION)
    parser.add_argument("names", nargs="*", help="methods, targets or losses, as `list` shows them")
    parser.add_argument("--all", action="store_true", help="check all parts")
    parser.add_argument(
        "--plugin",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="files or modules that register custom parts",
    )
    parser.add_argument(
        "--steps", type=int, default=200, help="optimizer steps on the digits (default 200; 0 skips training)"
    )
    return parser.parse_args(list(words))
