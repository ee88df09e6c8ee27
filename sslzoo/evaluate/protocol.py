"""How an encoder is scored: settings chosen on a part of train, the test split touched once."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from sslzoo.config import Config
from sslzoo.counter import permutation
from sslzoo.errors import UserError
from sslzoo.evaluate.knn import knn_predict
from sslzoo.evaluate.linear import LinearGrid, fit_linear

Indices = NDArray[np.int64]


class EvaluationConfig(Config):
    """The protocol of kNN and linear probe on frozen features."""

    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of the labelled train pictures, of each class, on which settings are chosen."""
    labels_per_class: PositiveInt | None = None
    """Use this many labels of each class only, drawn from the pictures that are not held out; None uses all."""
    draws: PositiveInt = 10
    """With `labels_per_class`: how many draws of labelled pictures the result is the mean of."""
    knn_k: tuple[PositiveInt, ...] = Field((5, 10, 20, 50, 100, 200), min_length=1)
    """Numbers of neighbours to choose from; larger ones than there are labels are left out."""
    knn_temperature: tuple[float, ...] = Field((0.05, 0.1, 0.2), min_length=1)
    """Temperatures of the neighbours' votes to choose from."""
    linear: LinearGrid = LinearGrid()
    """Settings of the linear probe to choose from."""
    seed: NonNegativeInt = 0
    """Seed of the held-out part, the draws and the probe."""


@dataclass(frozen=True)
class Score:
    """Result of one classifier."""

    accuracy: float
    """On the test split, in [0, 1]; the mean over draws where there are several."""
    std: float | None
    """Standard deviation over draws."""
    chosen: dict[str, float]
    """The settings, chosen on the held-out part."""
    choice_accuracy: float
    """On the held-out part, with these settings."""


@dataclass(frozen=True)
class Scores:
    """Results of an encoder."""

    knn: Score
    linear: Score
    labels: int
    """Labelled pictures that each classifier was given."""
    draws: int

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def split_holdout(labels: Tensor, share: float, seed: int) -> tuple[Indices, Indices]:
    """(fit, choice): `choice` holds `share` of each class, at least one of each, `fit` the rest.

    Raises:
        UserError: a class has only one picture.
    """
    choice = []
    for members in _members(labels, seed):
        if len(members) < 2:
            raise UserError(f"evaluation.holdout = {share:g}: a class has only {len(members)} labelled train picture")
        choice.append(members[: max(1, round(share * len(members)))])
    held_out = np.sort(np.concatenate(choice))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def check_labels(train: Tensor, test: Tensor, config: EvaluationConfig) -> None:
    """Whether these labels allow the protocol; nothing is scored.

    Args:
        train: (N,) int64 labels, `test` (Q,) likewise.

    Raises:
        UserError: too few labels of a class, or a class of test that train has not.
    """
    strangers = sorted(set(test.tolist()) - set(train.tolist()))
    if strangers:
        raise UserError(f"the test split has classes that the labelled train split has not: {_few(strangers)}")
    fit, _ = split_holdout(train, config.holdout, config.seed)
    _draws(train, fit, config)


def score(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    config: EvaluationConfig,
) -> Scores:
    """kNN and linear probe on features of a frozen encoder.

    Settings are chosen on a held-out part of train. With all labels, both parts of train together then make the
    classifiers that are tested; with few labels, the draws on which settings were chosen are tested themselves.

    Args:
        train: (N, D) float32, with labels (N,) int64.
        test: (Q, D), with labels (Q,).
        classes: number of classes.

    Raises:
        UserError: too few labels, or a class of test that train has not.
    """
    check_labels(train_labels, test_labels, config)
    fit, choice = split_holdout(train_labels, config.holdout, config.seed)
    draws = _draws(train_labels, fit, config)
    final = draws if config.labels_per_class else [np.arange(len(train))]

    results: list[Score] = []
    for classifier in (_Knn(config, classes, len(draws[0])), _Linear(config, classes)):
        guesses = [classifier.predict(train[d], train_labels[d], train[choice]) for d in draws]
        chosen, choice_accuracy = best_setting(guesses, train_labels[choice])
        tested = [classifier.predict(train[d], train_labels[d], test, only=chosen)[0] for d in final]
        accuracies = [_accuracy(guess, test_labels) for guess in tested]
        spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
        results.append(Score(float(np.mean(accuracies)), spread, classifier.settings[chosen], choice_accuracy))
    knn, linear = results
    return Scores(knn, linear, labels=len(final[0]), draws=len(final))


def watch_knn(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, classes: int) -> float:
    """Accuracy of kNN with k = 200 (or all there are) and temperature 0.1, as papers watch training with."""
    guess = knn_predict(
        train, train_labels, test, classes=classes, ks=[min(200, len(train))], temperatures=[0.1]
    )  # fmt: skip
    return _accuracy(guess[0, 0], test_labels)


def best_setting(guesses: list[Tensor], labels: Tensor) -> tuple[int, float]:
    """The setting with the highest accuracy, mean over draws of guesses (settings, N), and that accuracy."""
    accuracies = torch.stack([(guess == labels).float().mean(dim=1) for guess in guesses]).mean(dim=0)
    best = int(accuracies.argmax())
    return best, float(accuracies[best])


class _Knn:
    def __init__(self, config: EvaluationConfig, classes: int, labels: int) -> None:
        self.classes = classes
        ks = sorted({min(k, labels) for k in config.knn_k})
        self.settings = [{"k": k, "temperature": t} for k in ks for t in config.knn_temperature]

    def predict(self, train: Tensor, labels: Tensor, queries: Tensor, only: int | None = None) -> Tensor:
        settings = self.settings if only is None else [self.settings[only]]
        ks, temperatures = (sorted({s[name] for s in settings}) for name in ("k", "temperature"))
        guess = knn_predict(
            train, labels, queries, classes=self.classes, ks=[int(k) for k in ks], temperatures=temperatures
        )
        places = [(ks.index(s["k"]), temperatures.index(s["temperature"])) for s in settings]
        return torch.stack([guess[place] for place in places])


class _Linear:
    def __init__(self, config: EvaluationConfig, classes: int) -> None:
        self.config, self.classes = config, classes
        self.settings = config.linear.settings()

    def predict(self, train: Tensor, labels: Tensor, queries: Tensor, only: int | None = None) -> Tensor:
        grid = self.config.linear
        if only is not None:
            chosen = self.settings[only]
            grid = grid.model_copy(
                update={"learning_rates": (chosen["lr"],), "weight_decays": (chosen["weight_decay"],)}
            )
        heads = fit_linear(train, labels, classes=self.classes, grid=grid, seed=self.config.seed)
        return torch.cat([heads.logits(part).argmax(dim=2) for part in torch.split(queries, 4096)]).T


def _draws(labels: Tensor, fit: Indices, config: EvaluationConfig) -> list[Indices]:
    """Training sets: `fit` itself, or draws of a few pictures of each class from it."""
    few = config.labels_per_class
    if few is None:
        return [fit]
    draws = []
    for draw in range(config.draws):
        members = _members(labels[fit], config.seed, 1 + draw)
        short = [len(m) for m in members if len(m) < few]
        if short:
            raise UserError(
                f"evaluation.labels_per_class = {few}: a class has only {min(short)} pictures that are not held out"
            )
        draws.append(fit[np.sort(np.concatenate([m[:few] for m in members]))])
    return draws


def _members(labels: Tensor, *keys: int) -> list[Indices]:
    """Positions of each class that occurs, in random order."""
    order = permutation(len(labels), *keys).numpy()
    shuffled = labels.cpu().numpy()[order]
    return [order[shuffled == label] for label in np.unique(shuffled)]


def _accuracy(guess: Tensor, labels: Tensor) -> float:
    return float((guess == labels).float().mean())


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
