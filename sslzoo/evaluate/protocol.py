"""How an encoder is scored: settings chosen on a part of train, the test split touched once."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.knn import Knn, knn_predict
from sslzoo.evaluate.labels import check_labels, held_out_and_drawn
from sslzoo.evaluate.linear import LinearProbe
from sslzoo.evaluate.logistic import LogisticRegression
from sslzoo.evaluate.score import Score, Scores, score_of
from sslzoo.experiment.evaluation import EvaluationConfig


def score_classifiers(
    classifiers: Mapping[str, Classifier],
    train_labels: Tensor,
    test_labels: Tensor,
    classes: int,
    config: EvaluationConfig,
    say: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Choose each classifier's setting on the held-out part of train, then test it.

    With all labels, both parts of train together then make the classifiers that are tested; with few labels, the draws
    on which settings were chosen are tested themselves. Where there is one setting only, nothing is held out for it.

    Args:
        train_labels: (M,) int64, `test_labels` (N,) likewise.
        classes: number of classes.
        say: called with a description of each part of the work.

    Raises:
        UserError: the labels do not allow the protocol.
    """
    choice, draws = held_out_and_drawn(train_labels, config)
    final = draws if config.few_labels else [np.arange(len(train_labels))]
    scores: dict[str, Score] = {}
    for name, classifier in classifiers.items():
        chosen, choice_accuracy = 0, None
        if len(classifier.settings) > 1:
            say(f"{name}: choosing among {len(classifier.settings)} settings")
            guesses = [classifier.guess(draw, choice) for draw in draws]
            chosen, choice_accuracy = best_setting(guesses, train_labels[choice])
        say(f"{name}: testing")
        rankings = [classifier.rank(draw, chosen) for draw in final]
        scores[name] = score_of(
            rankings,
            test_labels,
            classes,
            chosen=classifier.settings[chosen],
            choice_accuracy=choice_accuracy,
            seed=config.seed,
        )
    return Scores(scores, labels=len(final[0]), draws=len(final))


def feature_classifiers(
    train: Tensor, train_labels: Tensor, test: Tensor, classes: int, config: EvaluationConfig
) -> dict[str, Classifier]:
    """Those of the protocol's classifiers that work on features.

    Args:
        train: (M, D) float32 features with labels (M,) int64.
        test: (N, D) features.

    Raises:
        UserError: too few labels.
    """
    _, draws = held_out_and_drawn(train_labels, config)
    fewest = min(len(draw) for draw in draws)
    data = train, train_labels, test, classes
    made: dict[str, Classifier] = {}
    for name in config.classifiers:
        if name == "knn":
            made[name] = Knn(*data, config, most=fewest)
        elif name == "linear":
            made[name] = LinearProbe(*data, config.linear, config.seed)
        elif name == "logistic":
            made[name] = LogisticRegression(*data, config.logistic)
    return made


def score_features(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    config: EvaluationConfig,
    say: Callable[[str], None] = lambda _: None,
) -> Scores:
    """The protocol's classifiers on features of a frozen encoder.

    Args:
        train: (M, D) float32, with labels (M,) int64.
        test: (N, D), with labels (N,).
        classes: number of classes.
        say: called with what is about to be done.

    Raises:
        UserError: the labels do not allow the protocol.
    """
    check_labels(train_labels, test_labels, config)
    made = feature_classifiers(train, train_labels, test, classes, config)
    return score_classifiers(made, train_labels, test_labels, classes, config, say)


def measure_knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, classes: int) -> float:
    """Accuracy of kNN with k = 200 (or all there are) and temperature 0.1, as papers watch training with."""
    guess = knn_predict(train, train_labels, test, classes=classes, k=min(200, len(train)), temperature=0.1)
    return float((guess == test_labels).float().mean())


def best_setting(guesses: list[Tensor], labels: Tensor) -> tuple[int, float]:
    """The setting with the highest accuracy, mean over draws of guesses (settings, N), and that accuracy."""
    accuracies = torch.stack([(guess.cpu() == labels.cpu()).float().mean(dim=1) for guess in guesses]).mean(dim=0)
    best = int(accuracies.argmax())
    return best, float(accuracies[best])
