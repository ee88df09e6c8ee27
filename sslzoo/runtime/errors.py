"""Mistakes of the user, told in one line."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A mistake that the user can mend: the command line prints the message as one line and exits with 2.

    The message names the setting and the value, and says what would be right.
    """


def near_misses(word: str, options: Iterable[str], *, at_most: int = 3) -> str:
    """`"; did you mean a, b?"` for the options that resemble `word`, or the whole list when it is short.

    Returns an empty string when there is nothing useful to say.
    """
    names = sorted(set(options))
    close = difflib.get_close_matches(word, names, n=at_most, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if 0 < len(names) <= 12:
        return f"; there is {', '.join(names)}"
    return ""


def few(names: Sequence[str], at_most: int = 3) -> str:
    """The first of some names, and how many more there are: `a, b, c and 4 more`."""
    return ", ".join(names[:at_most]) + (f" and {len(names) - at_most} more" if len(names) > at_most else "")


def shown(value: object, at_most: int = 120) -> str:
    """A value as a message quotes it: its `repr`, cut where it is long."""
    text = repr(value)
    return text if len(text) <= at_most else f"{text[: at_most - 3]}..."
