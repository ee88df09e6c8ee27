"""The settings of an evaluation protocol: labels, classifiers, and grids of their settings."""

import itertools
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sslzoo.config.schema import Config
from sslzoo.modules.optim import OptimizerConfig, ScheduleConfig

ClassifierName = Literal["knn", "linear", "logistic", "augmented", "fine-tune"]
ON_FEATURES: tuple[ClassifierName, ...] = ("knn", "linear", "logistic")
"""Classifiers that learn from features of the test view, which are extracted once."""


class LinearGrid(Config):
    """Grid of settings of the linear probe on features."""

    learning_rates: tuple[PositiveFloat, ...] = Field((0.01, 0.03, 0.1, 0.3, 1.0), min_length=1)
    """Initial learning rates."""
    weight_decays: tuple[NonNegativeFloat, ...] = Field((0.0, 1e-4, 1e-3), min_length=1)
    """Weight decays of the weights; biases have no weight decay."""
    epochs: PositiveInt = 100
    """Passes over the labeled images."""
    batch_size: PositiveInt = 256
    """Images per step."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum."""
    milestones: tuple[float, ...] = ()
    """Fractions of training after which the learning rate is divided by 10, as in (0.6, 0.8); empty: a cosine to 0."""
    standardize: bool = True
    """Standardize features to zero mean and unit variance, so that one grid of learning rates suits every encoder."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)) or not all(0 < m < 1 for m in self.milestones):
            raise ValueError(f"milestones = {self.milestones}: must be ascending fractions between 0 and 1")
        return self

    def settings(self) -> list[dict[str, float]]:
        """List each pair of learning rate and weight decay, in the order of the heads."""
        pairs = itertools.product(self.learning_rates, self.weight_decays)
        return [{"lr": lr, "weight_decay": decay} for lr, decay in pairs]


class LogisticGrid(Config):
    """Grid of settings of logistic regression."""

    c: tuple[PositiveFloat, ...] = Field((1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0), min_length=1)
    """Inverse strengths of the L2 penalty, like `C` of scikit-learn."""
    standardize: bool = True
    """Standardize features to zero mean and unit variance."""
    max_iterations: PositiveInt = 1000
    """Maximum number of iterations of L-BFGS."""
    tolerance: PositiveFloat = 1e-5
    """L-BFGS stops when no component of the gradient of the mean loss is larger."""


class FineTuneConfig(Config):
    """Settings of fine-tuning, which trains the whole encoder with labels."""

    epochs: PositiveInt = 30
    """Passes over the labeled images."""
    batch_size: PositiveInt = 128
    """Images per step, over all processes."""
    learning_rates: tuple[PositiveFloat, ...] = Field((3e-4, 1e-3), min_length=1)
    """Learning rates to choose from, each in a separate training; they replace `optimizer.lr`."""
    layer_decay: float | None = Field(0.75, gt=0, le=1)
    """Learning rate of a layer divided by that of the layer above it (Clark et al., ICLR 2020, ELECTRA; BEiT, MAE);
    None for equal rates."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target distribution that is spread over all classes."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05, decay_all=False)
    """Optimizer."""
    schedule: ScheduleConfig = ScheduleConfig(warmup_epochs=3)
    """Schedule of the learning rate."""


class EvaluationConfig(Config):
    """A protocol: classifiers on an encoder, with settings chosen on a held-out part of the train split."""

    classifiers: tuple[ClassifierName, ...] = ("knn", "linear")
    """`knn`, `linear` and `logistic` learn from features that are extracted once. `augmented` is the linear probe on
    augmented images, which are encoded in every epoch. `fine-tune` also trains the encoder. An empty list measures the
    representation only, and needs no labels."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Fraction of the labeled train images of each class on which settings are chosen."""
    labels_per_class: PositiveInt | None = None
    """Number of labels per class, drawn from the images that are not held out; None uses all."""
    labels_share: float | None = Field(None, gt=0, lt=1)
    """Fraction of the labels of each class, at least one label, drawn likewise; None uses all."""
    draws: PositiveInt = 10
    """Number of draws of labeled images that the result is averaged over, if few labels are used."""
    knn_k: tuple[PositiveInt, ...] = Field((5, 10, 20, 50, 100, 200), min_length=1)
    """Numbers of neighbors to choose from; numbers above the number of labels are skipped."""
    knn_temperature: tuple[PositiveFloat, ...] = Field((0.05, 0.1, 0.2), min_length=1)
    """Temperatures of the neighbors' votes to choose from."""
    linear: LinearGrid = LinearGrid()
    """Linear probe on features that are extracted once."""
    augmented: LinearGrid = LinearGrid()
    """Linear probe on augmented images."""
    logistic: LogisticGrid = LogisticGrid()
    """Logistic regression by L-BFGS."""
    fine_tune: FineTuneConfig = FineTuneConfig()
    """Fine-tuning."""
    seed: NonNegativeInt = 0
    """Seed of the held-out part, the draws, and each training."""

    @property
    def few_labels(self) -> bool:
        """Whether classifiers learn from draws of a few labels."""
        return self.labels_per_class is not None or self.labels_share is not None

    @model_validator(mode="after")
    def _check_labels_and_classifiers(self) -> Self:
        if self.labels_per_class is not None and self.labels_share is not None:
            raise ValueError(
                f"labels_share = {self.labels_share:g}: cannot be combined with labels_per_class, which is "
                f"{self.labels_per_class}; set one of them to None"
            )
        if len(set(self.classifiers)) < len(self.classifiers):
            raise ValueError(f"classifiers = {list(self.classifiers)}: contains a classifier twice")
        return self
