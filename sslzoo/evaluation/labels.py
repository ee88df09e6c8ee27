"""Choose the labeled images that a classifier learns from and those on which its settings are chosen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslzoo.experiment.evaluation import EvaluationConfig
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError, join_names

Indices = NDArray[np.int64]


def split_holdout(labels: Tensor, share: float, seed: int) -> tuple[Indices, Indices]:
    """Hold out a share of each class, at least one image, and return the indices (rest, held_out).

    Raises:
        UserError: a class has only one image.
    """
    parts = []
    for members in _indices_by_class(labels, seed):
        if len(members) < 2:
            raise UserError(f"evaluation.holdout = {share:g}: a class has only {len(members)} labeled train image")
        parts.append(members[: max(1, round(share * len(members)))])
    held_out = np.sort(np.concatenate(parts))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def draw_labels(labels: Tensor, fit: Indices, config: EvaluationConfig) -> list[Indices]:
    """Draw training sets: `fit` itself, or with few labels several random subsets of it.

    Raises:
        UserError: a class has fewer images than requested.
    """
    if not config.few_labels:
        return [fit]
    draws = []
    counts = labels.bincount().tolist()
    for draw in range(config.draws):
        chosen = [
            members[: _count_labels(config, counts[int(labels[members[0]])], len(members))]
            for members in (fit[places] for places in _indices_by_class(labels[fit], config.seed, 1 + draw))
        ]
        draws.append(np.sort(np.concatenate(chosen)))
    return draws


def split_and_draw(labels: Tensor, config: EvaluationConfig) -> tuple[Indices, list[Indices]]:
    """Return the indices of the held-out images and of the labeled images of each draw.

    Raises:
        UserError: the labels do not support the protocol.
    """
    fit, held_out = split_holdout(labels, config.holdout, config.seed)
    return held_out, draw_labels(labels, fit, config)


def check_labels(train: Tensor, test: Tensor, config: EvaluationConfig, classes: Sequence[str] = ()) -> None:
    """Check that the labels support the protocol, before anything is scored.

    Args:
        train: (N,) int64 labels.
        test: (Q,) int64 labels.
        classes: class names, for the message.

    Raises:
        UserError: a class has too few labels, or occurs in only one of train and test, or test images have no label.
    """
    if unlabeled := int((test < 0).sum()):
        raise UserError(
            f"the test split has {unlabeled} of {len(test)} images without a label, which cannot be tested on; name "
            "another split by --dataset.test"
        )
    learned, tested = set(train.tolist()), set(test.tolist())
    if unknown := sorted(tested - learned):
        names = _join_class_names(unknown, classes)
        raise UserError(f"the test split has classes that the labeled train split does not have: {names}")
    if untested := sorted(learned - tested):
        raise UserError(
            f"the test split has {len(tested)} of the {len(learned)} classes of train, none of "
            f"{_join_class_names(untested, classes)}: the accuracy would cover only some classes; use the same classes "
            "in both, or raise --dataset.test-limit"
        )
    split_and_draw(train, config)


def _count_labels(config: EvaluationConfig, class_size: int, available: int) -> int:
    """Count the labels of a class to use, of which `available` are not held out."""
    if config.labels_per_class is not None:
        few = config.labels_per_class
        if available < few:
            raise UserError(
                f"evaluation.labels_per_class = {few}: a class has only {available} images that are not held out"
            )
        return few
    assert config.labels_share is not None
    return min(available, max(1, round(config.labels_share * class_size)))


def _indices_by_class(labels: Tensor, *keys: int) -> list[Indices]:
    """The indices of each class that occurs, in random order."""
    order = permutation(len(labels), *keys).numpy()
    shuffled = labels.cpu().numpy()[order]
    by_class = np.argsort(shuffled, kind="stable")
    _, starts = np.unique(shuffled[by_class], return_index=True)
    return np.split(order[by_class], starts[1:])


def _join_class_names(labels: list[int], classes: Sequence[str]) -> str:
    return join_names([classes[n] if n < len(classes) else str(n) for n in labels], at_most=5)
