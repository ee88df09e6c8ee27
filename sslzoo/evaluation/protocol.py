"""Evaluation protocol: settings are chosen on a part of train, and the test split is used once."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from sslzoo.evaluation.classifier import Classifier
from sslzoo.evaluation.knn import Knn, knn_predict
from sslzoo.evaluation.labels import check_labels, split_and_draw
from sslzoo.evaluation.linear import LinearProbe
from sslzoo.evaluation.logistic import LogisticRegression
from sslzoo.evaluation.score import Score, Scores, compute_score
from sslzoo.experiment.evaluation import EvaluationConfig


def score_classifiers(
    classifiers: Mapping[str, Classifier],
    train_labels: Tensor,
    test_labels: Tensor,
    classes: int,
    config: EvaluationConfig,
    report: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Choose each classifier's setting on the held-out part of train, then test it.

    With all labels, the tested classifier learns from all of train, including the held-out part. With few labels, it
    learns from the draws with which its setting was chosen. With a single setting nothing is chosen.

    Args:
        train_labels: (M,) int64.
        test_labels: (N,) int64.
        classes: number of classes.
        report: called with a description of each part of the work.

    Raises:
        UserError: the labels do not support the protocol.
    """
    held_out, draws = split_and_draw(train_labels, config)
    final = draws if config.few_labels else [np.arange(len(train_labels))]
    scores: dict[str, Score] = {}
    for name, classifier in classifiers.items():
        chosen, choice_accuracy = 0, None
        if len(classifier.settings) > 1:
            report(f"{name}: choosing among {len(classifier.settings)} settings")
            predictions = [classifier.predict(draw, held_out) for draw in draws]
            chosen, choice_accuracy = choose_setting(predictions, train_labels[held_out])
        report(f"{name}: testing")
        rankings = [classifier.rank_test(draw, chosen) for draw in final]
        scores[name] = compute_score(
            rankings,
            test_labels,
            classes,
            chosen=classifier.settings[chosen],
            choice_accuracy=choice_accuracy,
            seed=config.seed,
        )
    return Scores(scores, labels=len(final[0]), draws=len(final))


def create_feature_classifiers(
    train: Tensor, train_labels: Tensor, test: Tensor, classes: int, config: EvaluationConfig
) -> dict[str, Classifier]:
    """Create the classifiers of a protocol that work on features.

    Args:
        train: (M, D) float32 features with labels (M,) int64.
        test: (N, D) features.

    Raises:
        UserError: a class has too few labels.
    """
    _, draws = split_and_draw(train_labels, config)
    fewest = min(len(draw) for draw in draws)
    data = train, train_labels, test, classes
    classifiers: dict[str, Classifier] = {}
    for name in config.classifiers:
        if name == "knn":
            classifiers[name] = Knn(*data, config, max_k=fewest)
        elif name == "linear":
            classifiers[name] = LinearProbe(*data, config.linear, config.seed)
        elif name == "logistic":
            classifiers[name] = LogisticRegression(*data, config.logistic)
    return classifiers


def score_features(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    config: EvaluationConfig,
    report: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Score the features of a frozen encoder by a protocol.

    Args:
        train: (M, D) float32, with labels (M,) int64.
        test: (N, D), with labels (N,).
        classes: number of classes.
        report: called with a description of each part of the work.

    Raises:
        UserError: the labels do not support the protocol.
    """
    check_labels(train_labels, test_labels, config)
    classifiers = create_feature_classifiers(train, train_labels, test, classes, config)
    return score_classifiers(classifiers, train_labels, test_labels, classes, config, report)


def measure_knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, classes: int) -> float:
    """Accuracy of kNN with k = 200 (or all features if there are fewer) and temperature 0.1, common for monitoring."""
    predicted = knn_predict(train, train_labels, test, classes=classes, k=min(200, len(train)), temperature=0.1)
    return float((predicted == test_labels).float().mean())


def choose_setting(predictions: list[Tensor], labels: Tensor) -> tuple[int, float]:
    """Choose the setting with the highest accuracy.

    Args:
        predictions: (settings, N) predicted classes, one tensor per draw.
        labels: (N,) int64.

    Returns:
        The index of the setting and its accuracy, the mean over draws.
    """
    accuracies = torch.stack([(predicted.cpu() == labels.cpu()).float().mean(dim=1) for predicted in predictions]).mean(
        dim=0
    )
    best = int(accuracies.argmax())
    return best, float(accuracies[best])
