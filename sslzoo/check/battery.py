"""What a check is, and how its outcome is kept."""

import traceback
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sslzoo.runtime.errors import UserError

Subject = TypeVar("Subject")


class Fault(AssertionError):
    """A part does not do what it has to; the message says in a line what was seen."""


class Finding(NamedTuple):
    """The outcome of one check."""

    check: str
    fault: str | None
    """What went wrong; None where nothing did."""


def run_check(check: str, look: Callable[[], None]) -> Finding:
    """Run a check; whatever it raises is its fault."""
    try:
        look()
    except Fault as fault:
        return Finding(check, str(fault))
    except Exception as error:  # anyone's part may fail in any way
        return Finding(check, summarize_error(error))
    return Finding(check, None)


def summarize_error(error: Exception) -> str:
    """What was raised, in a line, and where."""
    reason = str(error).partition("\n")[0]
    if isinstance(error, UserError):
        return reason
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {reason} ({where.filename}:{where.lineno})"


def run_checks(checks: dict[str, Callable[[Subject], None]], subject: Subject) -> list[Finding]:
    """The outcomes of checks of one subject."""
    return [run_check(name, lambda look=look: look(subject)) for name, look in checks.items()]  # type: ignore[misc]


def require(condition: object, fault: str) -> None:
    """Raise what is wrong.

    Raises:
        Fault: the condition does not hold.
    """
    if not condition:
        raise Fault(fault)
