"""`run.py check`: run the checks on parts by name."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslzoo.check import losses, methods, targets
from sslzoo.check.battery import CheckResult, run_check, run_checks, summarize_error
from sslzoo.check.processes import Outcome, require_equal, train, train_on_two_processes
from sslzoo.check.tiny import Tiny
from sslzoo.check.training import check_collapse
from sslzoo.config.registry import load_plugin
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.report.parts import REGISTRIES
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.runtime.progress import show_stage
from sslzoo.targets import TARGETS

PREFERRED_METHODS = ("moco", "byol")
"""Methods that a target or loss is combined with if possible."""


class Part(NamedTuple):
    """A part to check."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def check(asked: Namespace) -> int:
    """Check shapes, gradients, precision, order, state, two processes, and collapse in training.

    Returns:
        The exit status: 0 if all checks passed, else 1.

    Raises:
        UserError: no part is named, a name is unknown, or a plug-in cannot be loaded.
    """
    for plugin in asked.plugin:
        load_plugin(plugin)
    parts = [part for part in _list_parts() if asked.all or part.name in asked.names]
    for name in asked.names:
        if name not in {part.name for part in parts}:
            raise UserError(f"check {name}: no part has that name{near_misses(name, [p.name for p in _list_parts()])}")
    if not parts:
        raise UserError("check: requires names of methods, targets or losses, or --all")
    plugins = ["--plugin", *asked.plugin] if asked.plugin else []
    console = Console()
    results = dict(check_parts(parts, plugins, asked.steps, console))
    console.print(create_table(results))
    failed = sum(result.failure is not None for part in results.values() for result in part)
    total = sum(map(len, results.values()))
    console.print(f"{total - failed} of {total} checks passed", highlight=False)
    return 1 if failed else 0


def check_parts(
    parts: Sequence[Part], plugins: Sequence[str], steps: int, console: Console
) -> Iterator[tuple[Part, list[CheckResult]]]:
    """Run all checks of each part.

    Args:
        plugins: flags that load the files of the parts.
        steps: optimizer steps on the digits; 0 skips training.
    """
    flags: dict[Part, list[str]] = {}
    failed: dict[Part, list[CheckResult]] = {}
    for part in parts:
        try:
            flags[part] = [*plugins, *find_flags(part)]
            Tiny.of(*flags[part]).method()
        except Exception as error:  # a custom part may raise anything
            failed[part] = [CheckResult("can be created", summarize_error(error))]
    created = [part for part in parts if part not in failed]
    with show_stage(console, "two processes"):
        on_two = dict(zip(created, train_on_two_processes([flags[part] for part in created]), strict=True))
    for part in parts:
        if part in failed:
            yield part, failed[part]
            continue
        with show_stage(console, str(part)):
            yield part, [*_check_part(part), *_check_method(flags[part], on_two[part], steps)]


def _check_method(flags: Sequence[str], on_two: Sequence[Outcome | str], steps: int) -> list[CheckResult]:
    """Check the method that these flags select, on one process, on two, and in training."""
    results = run_checks(methods.CHECKS, Tiny.of(*flags))
    results.append(run_check("one and two processes", lambda: require_equal(train(flags), on_two)))
    if steps:
        results.append(run_check("no collapse", lambda: check_collapse(flags, steps)))
    return results


def find_flags(part: Part) -> list[str]:
    """Find flags of a training run with this part and compatible others.

    Raises:
        UserError: no method is compatible with the part, or it cannot be imported.
    """
    if part.kind == "method":
        return ["--method", part.name]
    REGISTRIES[part.kind].get(part.name)
    for method in [*PREFERRED_METHODS, *(name for name, _ in METHODS)]:
        framework = METHODS.get(method)
        if not issubclass(framework, PairMethod):
            continue
        for target in [part.name] if part.kind == "target" else [name for name, _ in TARGETS]:
            chosen = TARGETS.get(target)
            loss = LOSSES.get(part.name) if part.kind == "loss" else choose_loss(framework, chosen)
            if explain_mismatch(framework, chosen, loss) is None:
                return ["--method", method, "--target", target, "--loss", loss.name]
    raise UserError(
        f"no method is compatible with the {part}: check the attributes soft, positive and repels of its class"
    )


def create_table(results: dict[Part, list[CheckResult]]) -> Table:
    """Create a table with a row per check; for many parts, with a row per part and per failure."""
    table = Table("part", "check", "result", box=None, pad_edge=False)
    detailed = len(results) <= len(REGISTRIES)
    for part, checks in results.items():
        failures = [check for check in checks if check.failure is not None]
        if not detailed:
            table.add_row(str(part), f"{len(checks)} checks", f"{len(failures)} failed" if failures else "passed")
        for name, failure in checks if detailed else failures:
            table.add_row(str(part), name, "passed" if failure is None else Text(f"FAILED: {failure}", "red"))
    return table


def _check_part(part: Part) -> list[CheckResult]:
    """Check a target or loss without a method; a method has no such checks."""
    if part.kind == "method":
        return []
    cls = REGISTRIES[part.kind].get(part.name)
    instance = cls(cls.Config(name=part.name))
    return run_checks(targets.CHECKS, instance) if part.kind == "target" else run_checks(losses.CHECKS, instance)


def _list_parts() -> list[Part]:
    return [Part(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]
