"""Arguments that are read before the settings."""

import argparse
from typing import NoReturn

from sslzoo.errors import UserError


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose mistakes are errors of one line."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Told by the caller.

        Raises:
            UserError: always.
        """
        raise UserError(message)
