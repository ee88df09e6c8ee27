"""`run.py check`: the battery on parts by name."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslzoo.check import losses, methods, targets
from sslzoo.check.battery import Finding, run_check, run_checks, summarize_error
from sslzoo.check.processes import Outcome, require_equal, train, train_on_two
from sslzoo.check.tiny import Tiny
from sslzoo.check.training import check_collapse
from sslzoo.config.registry import Registry, load_plugin
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.runtime.progress import show_stage
from sslzoo.targets import TARGETS

REGISTRIES: dict[str, Registry[Any]] = {"method": METHODS, "target": TARGETS, "loss": LOSSES}
FIRST = ("moco", "byol")
"""Methods that a target or loss is tried on first."""


class Part(NamedTuple):
    """A part to check."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def check(asked: Namespace) -> int:
    """Check parts: shapes, gradients, precision, order, state, two processes, and that training does not collapse.

    Returns:
        The exit status: 0 where every check passed, else 1.
    """
    for plugin in asked.plugin:
        load_plugin(plugin)
    parts = [part for part in _list_parts() if asked.all or part.name in asked.names]
    for name in asked.names:
        if name not in {part.name for part in parts}:
            raise UserError(f"check {name}: no part has that name{near_misses(name, [p.name for p in _list_parts()])}")
    if not parts:
        raise UserError("check: takes names of methods, targets or losses, or --all")
    plugins = ["--plugin", *asked.plugin] if asked.plugin else []
    console = Console()
    outcomes = dict(check_parts(parts, plugins, asked.steps, console))
    console.print(table(outcomes))
    failed = sum(finding.fault is not None for found in outcomes.values() for finding in found)
    total = sum(map(len, outcomes.values()))
    console.print(f"{total - failed} of {total} checks passed", highlight=False)
    return 1 if failed else 0


def check_parts(
    parts: Sequence[Part], plugins: Sequence[str], steps: int, console: Console
) -> Iterator[tuple[Part, list[Finding]]]:
    """The outcomes of each part's checks.

    Args:
        plugins: flags that load the files where the parts are.
        steps: optimizer steps on the digits; 0 leaves training out.
    """
    flags: dict[Part, list[str]] = {}
    broken: dict[Part, list[Finding]] = {}
    for part in parts:
        try:
            flags[part] = [*plugins, *find_flags(part)]
            Tiny.of(*flags[part]).method()
        except Exception as error:  # anyone's part may fail in any way
            broken[part] = [Finding("can be made", summarize_error(error))]
    sound = [part for part in parts if part not in broken]
    with show_stage(console, "two processes"):
        on_two = dict(zip(sound, train_on_two([flags[part] for part in sound]), strict=True))
    for part in parts:
        if part in broken:
            yield part, broken[part]
            continue
        with show_stage(console, str(part)):
            yield part, [*_check_alone(part), *_check_in_training(flags[part], on_two[part], steps)]


def _check_in_training(flags: Sequence[str], on_two: Sequence[Outcome | str], steps: int) -> list[Finding]:
    """Checks of the method that these flags make."""
    found = run_checks(methods.CHECKS, Tiny.of(*flags))
    found.append(run_check("one and two processes", lambda: require_equal(train(flags), on_two)))
    if steps:
        found.append(run_check("no collapse", lambda: check_collapse(flags, steps)))
    return found


def find_flags(part: Part) -> list[str]:
    """Flags of a training run with this part, and with others that go with it.

    Raises:
        UserError: nothing goes with it, or it does not import.
    """
    if part.kind == "method":
        return ["--method", part.name]
    REGISTRIES[part.kind].get(part.name)
    for method in [*FIRST, *(name for name, _ in METHODS)]:
        framework = METHODS.get(method)
        if not issubclass(framework, PairMethod):
            continue
        for target in [part.name] if part.kind == "target" else [name for name, _ in TARGETS]:
            chosen = TARGETS.get(target)
            loss = LOSSES.get(part.name) if part.kind == "loss" else choose_loss(framework, chosen)
            if explain_mismatch(framework, chosen, loss) is None:
                return ["--method", method, "--target", target, "--loss", loss.name]
    raise UserError(f"no method goes with the {part}: see its class's soft, positive and repels")


def table(outcomes: dict[Part, list[Finding]]) -> Table:
    """A line for each part and check; of many parts, one for each part and one for each fault."""
    result = Table("part", "check", "outcome", box=None, pad_edge=False)
    for part, found in outcomes.items():
        faults = [finding for finding in found if finding.fault is not None]
        if len(outcomes) > len(REGISTRIES):
            result.add_row(str(part), f"{len(found)} checks", "passed" if not faults else f"{len(faults)} failed")
        for finding in found if len(outcomes) <= len(REGISTRIES) else faults:
            fault = finding.fault
            result.add_row(str(part), finding.check, "passed" if fault is None else Text(f"FAILED: {fault}", "red"))
    return result


def _check_alone(part: Part) -> list[Finding]:
    """Checks of a target or loss without a method."""
    if part.kind == "method":
        return []
    cls = REGISTRIES[part.kind].get(part.name)
    made = cls(cls.Config(name=part.name))
    return run_checks(targets.CHECKS, made) if part.kind == "target" else run_checks(losses.CHECKS, made)


def _list_parts() -> list[Part]:
    return [Part(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]
