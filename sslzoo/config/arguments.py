"""The base parser of command-line arguments."""

import argparse
import re
from typing import NoReturn

from sslzoo.runtime.errors import UserError, near_misses


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise the message as an error of the user; for an unknown flag, with similar flags.

        Raises:
            UserError: always.
        """
        unknown = re.match(r"unrecognized arguments: (--\S+)", message)
        raise UserError(message + (near_misses(unknown[1], self._option_string_actions) if unknown else ""))
