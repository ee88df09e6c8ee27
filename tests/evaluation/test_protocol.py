"""The protocol: choice of settings on held-out images, and independence from the test split."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sslzoo.config.schema import SettingError
from sslzoo.evaluation.knn import knn_predict
from sslzoo.evaluation.labels import check_labels, draw_labels, split_holdout
from sslzoo.evaluation.protocol import measure_knn_accuracy, score_features
from sslzoo.experiment.evaluation import EvaluationConfig, LinearGrid, LogisticGrid
from sslzoo.runtime.errors import UserError

FAST = LinearGrid(learning_rates=(0.03, 0.3), weight_decays=(0.0, 1e-2), epochs=10)


def features(n: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    return torch.eye(3)[labels].repeat(1, 2) + spread * torch.randn(n, 6, generator=generator), labels


@given(counts=st.lists(st.integers(2, 40), min_size=1, max_size=6), share=st.floats(0.05, 0.5), seed=st.integers(0, 99))
def test_holdout_is_a_balanced_partition(counts: list[int], share: float, seed: int) -> None:
    labels = torch.cat([torch.full((n,), 10 * c) for c, n in enumerate(counts)])
    fit, held_out = split_holdout(labels, share, seed)
    assert sorted([*fit, *held_out]) == list(range(len(labels)))
    for c, n in enumerate(counts):
        assert (labels[held_out] == 10 * c).sum() == max(1, round(share * n))
    again = split_holdout(labels, share, seed)
    assert (again[0] == fit).all()


def test_accuracy_on_separable_features_is_one() -> None:
    train, test = features(90, 0.01, 0), features(30, 0.01, 1)
    scores = score_features(*train, *test, 3, EvaluationConfig(linear=FAST, classifiers=("knn", "linear", "logistic")))
    assert [scores.by_classifier[name].accuracy for name in ("knn", "linear", "logistic")] == [1.0, 1.0, 1.0]
    assert (scores.labels, scores.draws, scores.by_classifier["knn"].std) == (90, 1, None)
    assert json.loads(json.dumps(scores.as_dict()))["knn"]["accuracy"] == 1.0


@pytest.mark.parametrize("few", [None, 4])
def test_test_labels_do_not_influence_the_chosen_settings(few: int | None) -> None:
    names = ("knn", "linear", "logistic")
    config = EvaluationConfig(linear=FAST, labels_per_class=few, draws=3, classifiers=names)
    train, (x, y) = features(90, 0.8, 0), features(60, 0.8, 1)
    real = score_features(*train, x, y, 3, config).by_classifier
    shuffled = score_features(*train, x, y.roll(1), 3, config).by_classifier
    assert real["knn"].accuracy != shuffled["knn"].accuracy
    for name, a in real.items():
        assert (a.chosen, a.choice_accuracy) == (shuffled[name].chosen, shuffled[name].choice_accuracy)


def test_best_setting_on_the_held_out_part_is_tested_with_all_labels() -> None:
    config = EvaluationConfig(linear=FAST, knn_k=(1, 5, 30), knn_temperature=(0.07, 1.0))
    (x, y), (queries, truth) = features(120, 1.0, 0), features(60, 1.0, 1)
    fit, held_out = split_holdout(y, config.holdout, config.seed)
    predictions = [
        knn_predict(x[fit], y[fit], x[held_out], classes=3, k=k, temperature=t) for k in (1, 5, 30) for t in (0.07, 1.0)
    ]
    accuracies = (torch.stack(predictions) == y[held_out]).float().mean(-1)
    result = score_features(x, y, queries, truth, 3, config).by_classifier["knn"]
    assert result.choice_accuracy == pytest.approx(float(accuracies.max()))
    best = knn_predict(x, y, queries, classes=3, k=int(result.chosen["k"]), temperature=result.chosen["temperature"])
    assert result.accuracy == pytest.approx(float((best == truth).float().mean()))
    assert result.confusion.sum() == 60
    assert result.confusion.trace() == round(60 * result.accuracy)


def test_single_setting_is_not_chosen() -> None:
    config = EvaluationConfig(classifiers=("logistic",), logistic=LogisticGrid(c=(1.0,)))
    result = score_features(*features(30, 0.5, 0), *features(30, 0.5, 1), 3, config).by_classifier["logistic"]
    assert (result.chosen, result.choice_accuracy) == ({"c": 1.0}, None)


def test_few_labels_are_balanced_and_never_held_out() -> None:
    config = EvaluationConfig(linear=FAST, labels_per_class=4, draws=5)
    train, test = features(90, 0.8, 0), features(30, 0.8, 1)
    fit, held_out = split_holdout(train[1], config.holdout, config.seed)
    draws = draw_labels(train[1], fit, config)
    assert len({tuple(draw) for draw in draws}) == 5
    for draw in draws:
        assert train[1][draw].bincount().tolist() == [4, 4, 4]
        assert not set(draw) & set(held_out)
    scores = score_features(*train, *test, 3, config)
    assert (scores.labels, scores.draws) == (12, 5)
    assert scores.by_classifier["knn"].std is not None
    assert scores.by_classifier["knn"].chosen["k"] <= 12


@given(share=st.floats(0.01, 0.9), counts=st.lists(st.integers(5, 60), min_size=2, max_size=5))
def test_share_of_labels_applies_to_each_class(share: float, counts: list[int]) -> None:
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    config = EvaluationConfig(labels_share=share, draws=2)
    fit, held_out = split_holdout(labels, config.holdout, config.seed)
    first, second = draw_labels(labels, fit, config)
    for c, n in enumerate(counts):
        available = n - int((labels[held_out] == c).sum())
        assert (labels[first] == c).sum() == (labels[second] == c).sum() == min(available, max(1, round(share * n)))
    assert not set(first) & set(held_out)


def test_contradictory_settings_are_refused() -> None:
    with pytest.raises(
        SettingError, match=r"labels_share = 0\.1: cannot be combined with labels_per_class, which is 1"
    ):
        EvaluationConfig(labels_share=0.1, labels_per_class=1)
    with pytest.raises(SettingError, match="contains a classifier twice"):
        EvaluationConfig(classifiers=("knn", "knn"))


def test_knn_accuracy_is_that_of_plain_knn() -> None:
    (x, y), (queries, truth) = features(90, 0.8, 0), features(30, 0.8, 1)
    predicted = knn_predict(x, y, queries, classes=3, k=90, temperature=0.1)
    assert measure_knn_accuracy(x, y, queries, truth, 3) == pytest.approx(float((predicted == truth).float().mean()))


def test_labels_that_do_not_support_the_protocol_are_refused() -> None:
    labels = torch.arange(30) % 3
    with pytest.raises(UserError, match="classes that the labeled train split does not have: 3"):
        check_labels(labels, torch.tensor([0, 3]), EvaluationConfig())
    with pytest.raises(
        UserError, match="has 2 of the 3 classes of train, none of cat: the accuracy would cover only some"
    ):
        check_labels(labels, torch.tensor([0, 1]), EvaluationConfig(), ["ant", "bee", "cat"])
    with pytest.raises(UserError, match=r"labels_per_class = 10: a class has only 9 images that are not held out"):
        check_labels(labels, labels, EvaluationConfig(labels_per_class=10))
    with pytest.raises(UserError, match="the test split has 1 of 3 images without a label, which cannot be tested on"):
        check_labels(labels, torch.tensor([0, -1, 1]), EvaluationConfig(), ["ant", "bee", "cat"])
    with pytest.raises(UserError, match=r"evaluation.holdout = 0.1: a class has only 1 labeled train image"):
        check_labels(torch.tensor([0, 0, 1]), labels[:2], EvaluationConfig())
