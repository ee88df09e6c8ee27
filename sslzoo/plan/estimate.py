"""From some steps to a whole run."""

from typing import NamedTuple

from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.plan.measure import Measured


class Estimate(NamedTuple):
    """Seconds of a whole run."""

    training: float
    """All optimizer steps."""
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
    labeled, test = (0 if part is None else len(part) for part in (data.labeled, data.test))
    if not measured.encoded_per_second or not labeled:
        return Estimate(training, 0, 0)
    watched = len(experiment.knn_epochs) * min(labeled, experiment.knn_images)
    scored = 2 * (labeled + test) if test else 0
    return Estimate(training, watched / measured.encoded_per_second, scored / measured.encoded_per_second)
