"""Table of compatible pairs of method and target and their losses, from the registries."""

from typing import NamedTuple

from rich.console import Group
from rich.table import Table

from sslzoo.method.base import METHODS
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.targets import TARGETS, Target


class Pairs(NamedTuple):
    """The compatibility of methods and targets."""

    targets: list[str]
    """Names of the targets, the columns of the table."""
    rows: dict[str, list[str]]
    """For each method with pairs: the loss for each target, or the number of a reason such as `(1)`."""
    reasons: list[str]
    """Why pairs are incompatible, numbered from 1."""
    without: list[str]
    """Methods without pairs, which accept no target."""
    unusable: list[str]
    """Methods and targets that cannot be imported."""


def find_pairs() -> Pairs:
    """Find the compatible pairs of all registered methods and targets."""
    targets = [target for _, target in TARGETS]
    rows: dict[str, list[str]] = {}
    reasons: list[str] = []
    without: list[str] = []
    for name, method in METHODS:
        if issubclass(method, PairMethod):
            rows[name] = [_format_cell(method, target, reasons) for target in targets]
        else:
            without.append(name)
    known = [*rows, *without, *(target.name for target in targets)]
    unusable = [name for name in [*METHODS.names(), *TARGETS.names()] if name not in known]
    return Pairs([target.name for target in targets], rows, reasons, without, unusable)


def _format_cell(method: type[PairMethod], target: type[Target], reasons: list[str]) -> str:
    loss = choose_loss(method, target)
    reason = explain_mismatch(method, target, loss)
    if reason is None:
        return f"{loss.name} *" if target.name == method.default_target else loss.name
    if reason not in reasons:
        reasons.append(reason)
    return f"({reasons.index(reason) + 1})"


def create_pairs_table() -> Group:
    """Create the table for the terminal."""
    pairs = find_pairs()
    table = Table("method", *pairs.targets, box=None, pad_edge=False)
    for name, cells in pairs.rows.items():
        table.add_row(name, *cells)
    return Group(table, "", *create_notes(pairs))


def format_pairs_markdown() -> str:
    """Format the table as Markdown for the documentation."""
    pairs = find_pairs()
    head = ["method", *(f"`{target}`" for target in pairs.targets)]
    lines = [head, ["---"] * len(head), *([f"`{name}`", *cells] for name, cells in pairs.rows.items())]
    table = "\n".join("| " + " | ".join(line).replace(" *", " \\*") + " |" for line in lines)
    return table + "\n\n" + "\n".join(f"- {note}".replace("* ", "\\* ", 1) for note in create_notes(pairs)) + "\n"


def create_notes(pairs: Pairs) -> list[str]:
    """Create the notes below the table, which explain its cells."""
    lines = ["cells name the loss; * marks the default target of the method"]
    lines += [f"({number}) {reason}" for number, reason in enumerate(pairs.reasons, start=1)]
    if pairs.without:
        lines.append(f"no target, because they have no pairs: {', '.join(pairs.without)}")
    if pairs.unusable:
        lines.append(
            f"not listed, because they cannot be imported (`list` shows the error): {', '.join(pairs.unusable)}"
        )
    return lines
