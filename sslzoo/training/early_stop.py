"""Stop training early when the kNN accuracy on the held-out images no longer improves."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EarlyStop:
    """Why a training stopped before its last epoch."""

    evaluations: int
    """Number of kNN evaluations in a row without a gain."""
    best_epoch: int
    """Epoch of the best kNN accuracy."""
    best_knn: float
    """Best kNN accuracy, in [0, 1]."""
    requested_epochs: int
    """Number of epochs that training would have had."""

    def describe(self) -> str:
        """Describe the stop: `stopped of 60, after 3 kNN evaluations without gain on 95.1 % in epoch 20`."""
        plural = "" if self.evaluations == 1 else "s"
        return (
            f"stopped of {self.requested_epochs}, after {self.evaluations} kNN evaluation{plural} without gain on "
            f"{100 * self.best_knn:.1f} % in epoch {self.best_epoch}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def find_early_stop(records: Iterable[Mapping[str, Any]], patience: int, epochs: int) -> EarlyStop | None:
    """Decide from the metrics whether training should stop.

    Args:
        records: lines of metrics.jsonl.
        patience: number of kNN evaluations without a new best accuracy after which training stops; 0 never stops it.
        epochs: number of epochs of the training.

    Returns:
        None if training continues.
    """
    scores = [(record["knn"], round(record["epoch"])) for record in records if "knn" in record]
    if not patience or not scores:
        return None
    best = max(range(len(scores)), key=lambda place: scores[place][0])  # the first one on ties
    evaluations = len(scores) - 1 - best
    if evaluations < patience or scores[-1][1] >= epochs:
        return None
    knn, epoch = scores[best]
    return EarlyStop(evaluations, epoch, knn, epochs)
