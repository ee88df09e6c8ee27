"""Which target goes with which method, and by which loss: the table framework x target, from the registry."""

from typing import NamedTuple

from rich.console import Group
from rich.table import Table

from sslzoo.method.base import METHODS
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.targets import TARGETS, Target


class Pairs(NamedTuple):
    """Methods by targets."""

    targets: list[str]
    rows: dict[str, list[str]]
    """For each method with pairs the loss of each target, or the number of a reason, as `(1)`."""
    reasons: list[str]
    """Why pairs are refused, numbered from 1."""
    without: list[str]
    """Methods without pairs, which take no target."""
    unusable: list[str]
    """Methods and targets that do not import."""


def pairs() -> Pairs:
    """The table of all registered methods and targets."""
    targets = [target for _, target in TARGETS]
    rows: dict[str, list[str]] = {}
    reasons: list[str] = []
    without: list[str] = []
    for name, method in METHODS:
        if issubclass(method, PairMethod):
            rows[name] = [_cell(method, target, reasons) for target in targets]
        else:
            without.append(name)
    known = [*rows, *without, *(target.name for target in targets)]
    unusable = [name for name in [*METHODS.names(), *TARGETS.names()] if name not in known]
    return Pairs([target.name for target in targets], rows, reasons, without, unusable)


def _cell(method: type[PairMethod], target: type[Target], reasons: list[str]) -> str:
    loss = choose_loss(method, target)
    reason = explain_mismatch(method, target, loss)
    if reason is None:
        return f"{loss.name} *" if target.name == method.default_target else loss.name
    if reason not in reasons:
        reasons.append(reason)
    return f"({reasons.index(reason) + 1})"


def pairs_table() -> Group:
    """For the terminal."""
    found = pairs()
    table = Table("method", *found.targets, box=None, pad_edge=False)
    for name, cells in found.rows.items():
        table.add_row(name, *cells)
    return Group(table, "", *notes(found))


def pairs_markdown() -> str:
    """For the documentation."""
    found = pairs()
    head = ["method", *(f"`{target}`" for target in found.targets)]
    lines = [head, ["---"] * len(head), *([f"`{name}`", *cells] for name, cells in found.rows.items())]
    table = "\n".join("| " + " | ".join(line).replace(" *", " \\*") + " |" for line in lines)
    return table + "\n\n" + "\n".join(f"- {note}".replace("* ", "\\* ", 1) for note in notes(found)) + "\n"


def notes(found: Pairs) -> list[str]:
    """What the cells mean."""
    lines = ["cells name the loss; * is the target that the method comes with"]
    lines += [f"({number}) {reason}" for number, reason in enumerate(found.reasons, start=1)]
    if found.without:
        lines.append(f"no target, as they have no pairs to match: {', '.join(found.without)}")
    if found.unusable:
        lines.append(f"left out, as they cannot be used (`list` says why): {', '.join(found.unusable)}")
    return lines
