"""Command-line arguments of `run.py card` and `run.py push`."""

import re
from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from sslzoo.config.arguments import ArgumentParser
from sslzoo.runtime.errors import UserError

CARD = """Write the folder RUN/hub: the backbone of a finished run in timm's layout for the Hugging Face Hub, and its
model card, README.md. timm loads it by `timm.create_model("local-dir:RUN/hub", pretrained=True)`."""
PUSH = """Upload the folder RUN/hub to a model repository on the Hugging Face Hub, which is created if it does not
exist. The folder is written first if `card` has not done so. Log in before with `hf auth login`, or set HF_TOKEN."""
LICENSE = "license of the weights as the Hub names it, such as mit or cc-by-nc-4.0"


def parse_card(words: list[str]) -> Namespace:
    """Parse the arguments of `card`.

    Raises:
        UserError: a flag is unknown, or its value is invalid.
        SystemExit: after `--help`.
    """
    parser = _create_parser("card", CARD)
    parser.add_argument("--license", help=LICENSE)
    parser.add_argument("--overwrite", action="store_true", help="replace a card that exists, with its edits")
    asked = parser.parse_args(words)
    _check_license(asked.license)
    return asked


def parse_push(words: list[str]) -> Namespace:
    """Parse the arguments of `push`.

    Raises:
        UserError: a flag is unknown, or its value is invalid.
        SystemExit: after `--help`.
    """
    parser = _create_parser("push", PUSH)
    parser.add_argument("repository", metavar="OWNER/NAME", help="name of the repository")
    parser.add_argument("--private", action="store_true", help="create the repository as a private one")
    parser.add_argument("--license", help=f"{LICENSE}; only if RUN/hub does not exist")
    parser.add_argument("--message", default="Upload a backbone trained with sslzoo", help="message of the commit")
    asked = parser.parse_args(words)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", asked.repository):
        raise UserError(f"push {asked.repository}: must be OWNER/NAME, of letters, digits, -, _ and .")
    _check_license(asked.license)
    return asked


def _create_parser(command: str, description: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"run.py {command}", description=description, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    return parser


def _check_license(name: str | None) -> None:
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        raise UserError(f"--license {name}: must be an identifier of the Hub, such as mit or cc-by-nc-4.0")
