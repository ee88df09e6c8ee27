"""Run checks and collect their results."""

import traceback
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sslzoo.runtime.errors import UserError

Subject = TypeVar("Subject")


class CheckError(AssertionError):
    """A part violates a requirement; the message describes the violation in one line."""


class CheckResult(NamedTuple):
    """The result of one check."""

    check: str
    """Name of the check."""
    failure: str | None
    """What went wrong; None if the check passed."""


def run_check(name: str, check: Callable[[], None]) -> CheckResult:
    """Run a check and catch any exception as its failure."""
    try:
        check()
    except CheckError as error:
        return CheckResult(name, str(error))
    except Exception as error:  # a custom part may raise anything
        return CheckResult(name, summarize_error(error))
    return CheckResult(name, None)


def summarize_error(error: Exception) -> str:
    """Describe an exception in one line, with the file and line that raised it."""
    reason = str(error).partition("\n")[0]
    if isinstance(error, UserError):
        return reason
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {reason} ({where.filename}:{where.lineno})"


def run_checks(checks: dict[str, Callable[[Subject], None]], subject: Subject) -> list[CheckResult]:
    """Run all checks on one subject."""
    return [run_check(name, lambda check=check: check(subject)) for name, check in checks.items()]  # type: ignore[misc]


def require(condition: object, failure: str) -> None:
    """Assert a requirement.

    Raises:
        CheckError: the condition is false; `failure` is the message.
    """
    if not condition:
        raise CheckError(failure)
