"""Command-line arguments of `run.py plan`."""

from argparse import Namespace

from sslzoo.config.arguments import ArgumentParser
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError

HELP = """
Run some steps without saving anything. Print the estimated duration of the run, the time of each part of a step, and
flags that would make it faster. Accepts all flags of a training run, and:

  --seconds N   approximate duration of the measurement (default: 20)
  --no-tries    do not measure which flags would help
"""


def parse_request(words: list[str]) -> tuple[Namespace, Experiment]:
    """Parse the arguments of the command and the settings of the run.

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
        raise UserError(f"--seconds {asked.seconds:g}: must be above 0")
    return asked, compose(flags, prog="run.py plan")
