"""The settings of a protocol: which labels, which classifiers, which of their settings are tried."""

import itertools
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sslzoo.config.schema import Config
from sslzoo.modules.optim import OptimizerConfig, ScheduleConfig

ClassifierName = Literal["knn", "linear", "logistic", "augmented", "fine-tune"]
ON_FEATURES: tuple[ClassifierName, ...] = ("knn", "linear", "logistic")
"""Classifiers that need the features of the test view only, extracted once."""


class LinearGrid(Config):
    """Settings that the linear probe on features is tried with."""

    learning_rates: tuple[PositiveFloat, ...] = Field((0.01, 0.03, 0.1, 0.3, 1.0), min_length=1)
    """Learning rates at the start."""
    weight_decays: tuple[NonNegativeFloat, ...] = Field((0.0, 1e-4, 1e-3), min_length=1)
    """Weight decays of the weights; biases have none."""
    epochs: PositiveInt = 100
    """Passes over the labeled images."""
    batch_size: PositiveInt = 256
    """Images of one step."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov's momentum."""
    milestones: tuple[float, ...] = ()
    """Shares of training after which the learning rate is divided by 10, as in (0.6, 0.8); empty for a cosine to 0."""
    standardize: bool = True
    """Bring features to zero mean and unit variance first, so that one grid of learning rates serves every encoder."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)) or not all(0 < m < 1 for m in self.milestones):
            raise ValueError(f"milestones = {self.milestones}: takes shares between 0 and 1, ascending")
        return self

    def settings(self) -> list[dict[str, float]]:
        """Every pair of learning rate and weight decay, in the order of the heads."""
        pairs = itertools.product(self.learning_rates, self.weight_decays)
        return [{"lr": lr, "weight_decay": decay} for lr, decay in pairs]


class LogisticGrid(Config):
    """Settings that logistic regression is tried with."""

    c: tuple[PositiveFloat, ...] = Field((1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0), min_length=1)
    """Inverse strengths of the L2 penalty, as scikit-learn's `C`."""
    standardize: bool = True
    """Bring features to zero mean and unit variance first."""
    max_iterations: PositiveInt = 1000
    """Iterations of L-BFGS at most."""
    tolerance: PositiveFloat = 1e-5
    """L-BFGS stops where no component of the mean loss's gradient is larger."""


class FineTuneConfig(Config):
    """How the whole encoder is trained with labels."""

    epochs: PositiveInt = 30
    """Passes over the labeled images."""
    batch_size: PositiveInt = 128
    """Images of one step, over all processes."""
    learning_rates: tuple[PositiveFloat, ...] = Field((3e-4, 1e-3), min_length=1)
    """Learning rates to choose from, each by a separate training; they replace `optimizer.lr`."""
    layer_decay: float | None = Field(0.75, gt=0, le=1)
    """Factor of the learning rate from a layer to the one below it (Clark et al., ICLR 2020, ELECTRA; BEiT, MAE);
    None for one rate."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05, decay_all=False)
    """The optimizer."""
    schedule: ScheduleConfig = ScheduleConfig(warmup_epochs=3)
    """The learning rate over training."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs = {self.schedule.warmup_epochs:g}: warm-up must be shorter than "
                f"training, {self.epochs} epochs"
            )
        return self


class EvaluationConfig(Config):
    """A protocol: classifiers on an encoder, their settings chosen on a part of train."""

    classifiers: tuple[ClassifierName, ...] = ("knn", "linear")
    """`knn`, `linear` and `logistic` learn from features that are extracted once; `augmented` is the linear probe on
    augmented images, the encoder run in every epoch; `fine-tune` trains the encoder as well. None at all needs no
    labels: only the representation is measured."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of the labeled train images, of each class, on which settings are chosen."""
    labels_per_class: PositiveInt | None = None
    """Use this many labels of each class only, drawn from the images that are not held out; None uses all."""
    labels_share: float | None = Field(None, gt=0, lt=1)
    """Use this share of the labels of each class only, at least one, drawn likewise."""
    draws: PositiveInt = 10
    """With few labels: how many draws of labeled images the result is the mean of."""
    knn_k: tuple[PositiveInt, ...] = Field((5, 10, 20, 50, 100, 200), min_length=1)
    """Numbers of neighbors to choose from; larger ones than there are labels are left out."""
    knn_temperature: tuple[PositiveFloat, ...] = Field((0.05, 0.1, 0.2), min_length=1)
    """Temperatures of the neighbors' votes to choose from."""
    linear: LinearGrid = LinearGrid()
    """The linear probe on features that are extracted once."""
    augmented: LinearGrid = LinearGrid()
    """The linear probe on augmented images."""
    logistic: LogisticGrid = LogisticGrid()
    """Logistic regression by L-BFGS."""
    fine_tune: FineTuneConfig = FineTuneConfig()
    """Fine-tuning."""
    seed: NonNegativeInt = 0
    """Seed of the held-out part, the draws, and every training."""

    @property
    def few_labels(self) -> bool:
        """Whether classifiers learn from draws of few labels."""
        return self.labels_per_class is not None or self.labels_share is not None

    @model_validator(mode="after")
    def _one_measure_of_few(self) -> Self:
        if self.labels_per_class is not None and self.labels_share is not None:
            raise ValueError(
                f"labels_share = {self.labels_share:g}: labels_per_class is {self.labels_per_class}; give one, "
                "and None for the other"
            )
        if len(set(self.classifiers)) < len(self.classifiers):
            raise ValueError(f"classifiers = {list(self.classifiers)}: names one twice")
        return self
