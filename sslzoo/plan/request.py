"""The arguments of `run.py plan`."""

from argparse import Namespace

from sslzoo.config.arguments import ArgumentParser
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError

HELP = """
Takes some steps of a run, saves nothing, and says what the whole run would take, where a step's time goes, and what
would help. All flags of a training run, and:

  --seconds N   how long to measure, about (20)
  --no-tries    leave out what would help
"""


def parse_request(words: list[str]) -> tuple[Namespace, Experiment]:
    """The arguments of the command, and the settings of the run.

    Raises:
        UserError: a flag or a value is invalid.
        SystemExit: after `--help`.
    """
    own = ArgumentParser(prog="run.py plan", add_help=False)
    own.add_argument("--seconds", type=float, default=20)
    own.add_argument("--no-tries", action="store_true")
    asked, flags = own.parse_known_args(words)
    if "--help" in flags or "-h" in flags:
        print(HELP)
    if not asked.seconds > 0:
        raise UserError(f"--seconds {asked.seconds:g}: takes a number above 0")
    return asked, compose(flags, prog="run.py plan")
