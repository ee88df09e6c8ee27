"""From some steps to a whole run."""

from typing import NamedTuple

from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.plan.measure import Measured


class Estimate(NamedTuple):
    """Seconds of a whole run."""

    training: float
    """All optimiser steps."""
    watching: float
    """Features for the kNN scores on the way."""
    scoring: float
    """Features for the scores at the end, of the trained and the untrained backbone; probes come on top."""

    @property
    def whole(self) -> float:
        """All of it."""
        return self.training + self.watching + self.scoring


def estimate(experiment: Experiment, data: Data, measured: Measured) -> Estimate:
    """What the run would take at the measured speed."""
    training = experiment.epochs * measured.steps_per_epoch * measured.seconds
    labelled, test = (0 if part is None else len(part) for part in (data.labelled, data.test))
    if not measured.encoded_per_second or not labelled:
        return Estimate(training, 0, 0)
    watched = len(experiment.knn_epochs) * min(labelled, experiment.knn_pictures)
    scored = 2 * (labelled + test) if test else 0
    return Estimate(training, watched / measured.encoded_per_second, scored / measured.encoded_per_second)
