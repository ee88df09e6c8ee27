"""Estimate the duration of a run from some steps."""

from typing import NamedTuple

from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.plan.measure import Measurement


class Estimate(NamedTuple):
    """Estimated duration of a run in seconds."""

    training: float
    """All optimizer steps."""
    knn: float
    """Feature extraction for kNN during training."""
    features: float
    """Feature extraction at the end, for the trained and the untrained backbone; probes are not included."""

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return self.training + self.knn + self.features


def estimate(experiment: Experiment, data: Data, measured: Measurement) -> Estimate:
    """Estimate the duration of the run at the measured speed."""
    training = experiment.epochs * measured.steps_per_epoch * measured.seconds
    labeled, test = (0 if part is None else len(part) for part in (data.labeled, data.test))
    if not measured.encoded_per_second or not labeled:
        return Estimate(training, 0, 0)
    knn_images = len(experiment.knn_epochs) * min(labeled, experiment.knn_images)
    final_images = 2 * (labeled + test) if test else 0
    return Estimate(training, knn_images / measured.encoded_per_second, final_images / measured.encoded_per_second)
