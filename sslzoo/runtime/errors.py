"""One-line errors of the user, and how their messages quote names and values."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """An error that the user can fix: the command line prints the message as one line and exits with status 2.

    The message names the setting and its value, and states what would be valid.
    """


def near_misses(word: str, options: Iterable[str], *, at_most: int = 3) -> str:
    """`"; did you mean a or b?"` for the options similar to `word`; otherwise all options, if there are at most 12.

    Returns an empty string if no option is similar and the list is longer.
    """
    names = sorted(set(options))
    close = difflib.get_close_matches(word, names, n=at_most, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if 0 < len(names) <= 12:
        return f"; available: {', '.join(names)}"
    return ""


def join_names(names: Sequence[str], at_most: int = 3) -> str:
    """Join the first names and count the others: `a, b, c and 4 more`."""
    return ", ".join(names[:at_most]) + (f" and {len(names) - at_most} more" if len(names) > at_most else "")


def format_value(value: object, at_most: int = 120) -> str:
    """Format a value for an error message: its `repr`, truncated to `at_most` characters."""
    text = repr(value)
    return text if len(text) <= at_most else f"{text[: at_most - 3]}..."


def escape_controls(text: str) -> str:
    """Escape control characters, as a file name or a damaged file may contain those that change a terminal."""
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in text)
