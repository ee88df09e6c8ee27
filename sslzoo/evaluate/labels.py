"""Which labeled images a classifier learns from, and on which ones its settings are chosen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslzoo.experiment.evaluation import EvaluationConfig
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError, join_names

Indices = NDArray[np.int64]


def split_holdout(labels: Tensor, share: float, seed: int) -> tuple[Indices, Indices]:
    """(fit, choice): `choice` holds `share` of each class, at least one of each, `fit` the rest.

    Raises:
        UserError: a class has only one image.
    """
    choice = []
    for members in _members(labels, seed):
        if len(members) < 2:
            raise UserError(f"evaluation.holdout = {share:g}: a class has only {len(members)} labeled train image")
        choice.append(members[: max(1, round(share * len(members)))])
    held_out = np.sort(np.concatenate(choice))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def draw_labels(labels: Tensor, fit: Indices, config: EvaluationConfig) -> list[Indices]:
    """Training sets: `fit` itself, or draws of a few images of each class from it.

    Raises:
        UserError: a class has fewer images than are asked for.
    """
    if not config.few_labels:
        return [fit]
    draws = []
    counts = labels.bincount().tolist()
    for draw in range(config.draws):
        chosen = [
            members[: _wanted(config, counts[int(labels[members[0]])], len(members))]
            for members in (fit[places] for places in _members(labels[fit], config.seed, 1 + draw))
        ]
        draws.append(np.sort(np.concatenate(chosen)))
    return draws


def held_out_and_drawn(labels: Tensor, config: EvaluationConfig) -> tuple[Indices, list[Indices]]:
    """Positions of the held-out images, and of each draw's labeled ones, as the protocol has them.

    Raises:
        UserError: the labels do not allow it.
    """
    fit, choice = split_holdout(labels, config.holdout, config.seed)
    return choice, draw_labels(labels, fit, config)


def check_labels(train: Tensor, test: Tensor, config: EvaluationConfig, classes: Sequence[str] = ()) -> None:
    """Whether these labels allow the protocol; nothing is scored.

    Args:
        train: (N,) int64 labels, `test` (Q,) likewise.
        classes: names, for the message.

    Raises:
        UserError: too few labels of a class, or a class that only one of train and test has.
    """
    learned, tested = set(train.tolist()), set(test.tolist())
    if strangers := sorted(tested - learned):
        raise UserError(
            f"the test split has classes that the labeled train split has not: {_names(strangers, classes)}"
        )
    if untested := sorted(learned - tested):
        raise UserError(
            f"the test split has {len(tested)} of the {len(learned)} classes of train, none of "
            f"{_names(untested, classes)}: an accuracy over other classes than were learned; give both the same "
            "classes, or raise --dataset.test-limit"
        )
    held_out_and_drawn(train, config)


def _wanted(config: EvaluationConfig, all_of_class: int, there: int) -> int:
    """How many labels of a class are used, of which there are `there` that are not held out."""
    if config.labels_per_class is not None:
        few = config.labels_per_class
        if there < few:
            raise UserError(
                f"evaluation.labels_per_class = {few}: a class has only {there} images that are not held out"
            )
        return few
    assert config.labels_share is not None
    return min(there, max(1, round(config.labels_share * all_of_class)))


def _members(labels: Tensor, *keys: int) -> list[Indices]:
    """Positions of each class that occurs, in random order."""
    order = permutation(len(labels), *keys).numpy()
    shuffled = labels.cpu().numpy()[order]
    by_class = np.argsort(shuffled, kind="stable")
    _, starts = np.unique(shuffled[by_class], return_index=True)
    return np.split(order[by_class], starts[1:])


def _names(numbers: list[int], classes: Sequence[str]) -> str:
    return join_names([classes[n] if n < len(classes) else str(n) for n in numbers], at_most=5)
