"""Weighted kNN against scikit-learn and against a restatement in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluate.knn import knn_predict


def clusters(n: int, seed: int, classes: int = 4, dim: int = 6) -> tuple[Tensor, Tensor]:
    """Overlapping classes: features (n, dim) and labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centers[labels] + 1.2 * torch.randn(n, dim, generator=generator), labels


def test_equals_scikit_learn() -> None:
    (bank, labels), (queries, _) = clusters(200, 0), clusters(80, 1)
    ks, temperatures = [1, 7, 50], [0.05, 0.5]
    ours = knn_predict(bank, labels, queries, classes=4, ks=ks, temperatures=temperatures)
    for i, k in enumerate(ks):
        for j, t in enumerate(temperatures):
            theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda d, t=t: _weight(d, t))
            expected = theirs.fit(bank.double().numpy(), labels.numpy()).predict(queries.double().numpy())
            assert (ours[i, j].numpy() == expected).mean() > 0.98  # float32 may turn a near tie


def _weight(distance, temperature):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.exp((1 - distance) / temperature)


def test_equals_the_restated_vote() -> None:
    (bank, labels), (queries, _) = clusters(60, 2), clusters(20, 3)
    ours = knn_predict(bank, labels, queries, classes=4, ks=[9], temperatures=[0.1])[0, 0]
    unit = F.normalize(bank.double())
    for i, query in enumerate(F.normalize(queries.double())):
        similarities = sorted(((float(query @ z), int(y)) for z, y in zip(unit, labels, strict=True)), reverse=True)
        votes = [0.0] * 4
        for similarity, label in similarities[:9]:
            votes[label] += math.exp(similarity / 0.1)
        assert int(ours[i]) == max(range(4), key=votes.__getitem__)


@given(chunk=st.integers(1, 40), scale=st.floats(0.1, 100))
def test_chunks_and_lengths_of_features_do_not_matter(chunk: int, scale: float) -> None:
    (bank, labels), (queries, _) = clusters(50, 4), clusters(30, 5)
    whole = knn_predict(bank, labels, queries, classes=4, ks=[5, 20], temperatures=[0.1])
    parts = knn_predict(bank, labels, queries * scale, classes=4, ks=[5, 20], temperatures=[0.1], chunk=chunk)
    assert (whole == parts).float().mean() > 0.95  # rounding may turn a near tie


def test_small_temperatures_do_not_overflow() -> None:
    bank, labels = clusters(30, 6)
    nearest = knn_predict(bank, labels, bank, classes=4, ks=[10], temperatures=[0.001])
    assert torch.equal(nearest[0, 0], labels)


@pytest.mark.parametrize("k", [0, 31])
def test_a_k_that_is_not_possible_is_refused(k: int) -> None:
    bank, labels = clusters(30, 7)
    with pytest.raises(ValueError, match="k from 1 to 30"):
        knn_predict(bank, labels, bank, classes=4, ks=[k], temperatures=[0.1])
