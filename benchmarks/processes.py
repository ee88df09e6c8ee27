"""Compare one process with two after the same training steps, for each method.

    python benchmarks/processes.py
    python benchmarks/processes.py ascl moco

Three steps of plain SGD with a tiny encoder on the same batches, on one process and on two gloo processes, in
float32. Each value is the largest difference of any entry, relative to the largest entry of the same kind, because
some gradients are zero except for rounding, such as that of a bias before batch norm.
"""

import sys

import torch
from torch import Tensor

from sslzoo.check.processes import STEPS, WORLD, Outcome, train, train_on_two_processes
from sslzoo.method.base import METHODS

NORM = ("running_mean", "running_var")


def relative_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """Format the largest difference relative to the largest entry; `none` if there is nothing to compare."""
    pairs = [(value.double(), other[name].double()) for name, value in one.items() if value.is_floating_point()]
    if not pairs:
        return "none"
    largest = max(ours.abs().max().item() for ours, _ in pairs)
    difference = max((theirs - ours).abs().max().item() for ours, theirs in pairs)
    return f"{difference / largest:.0e}" if difference else "0"


def format_row(name: str, one: Outcome, two: Outcome, other: Outcome) -> str:
    """Format a row of the table."""
    trainable = {key for key in one.state if key in one.gradients}
    norm = {key: value for key, value in one.state.items() if key.endswith(NORM)}
    other_state = {key: value for key, value in one.state.items() if key not in trainable and key not in norm}
    equal = all(torch.equal(value, other.state[key]) for key, value in two.state.items())
    figures = [
        relative_difference({"": torch.tensor(one.losses)}, {"": torch.tensor(two.losses)}),
        relative_difference(one.gradients, two.gradients),
        relative_difference(other_state, two.state),
        relative_difference(norm, two.state),
        "yes" if equal else "NO",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def main(words: list[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    names = words or METHODS.names()
    print(
        "| method | loss | gradient | queue, teacher and other state | statistics of norms | processes bit-identical |"
    )
    print("|---|---|---|---|---|---|")
    cases = [["--method", name] for name in names]
    for name, flags, outcomes in zip(names, cases, train_on_two_processes(cases), strict=True):
        two, other = outcomes
        if isinstance(two, str) or isinstance(other, str):
            print(f"| {name} | {two} | {other} | | | |")
        else:
            print(format_row(name, train(flags), two, other), flush=True)
    print(f"\n{STEPS} steps, {WORLD} gloo processes of one thread, torch {torch.__version__}")


if __name__ == "__main__":
    main(sys.argv[1:])
