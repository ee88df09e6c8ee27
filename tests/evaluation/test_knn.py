"""Weighted kNN against scikit-learn and a direct implementation in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional as F

import sslzoo.evaluation.knn
from sslzoo.evaluation.knn import knn_predict, knn_votes


def clusters(n: int, seed: int, classes: int = 4, dim: int = 6) -> tuple[Tensor, Tensor]:
    """Overlapping classes: features (n, dim) and labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centers[labels] + 1.2 * torch.randn(n, dim, generator=generator), labels


@pytest.mark.parametrize("max_table_size", [1 << 26, 1500])
def test_votes_agree_with_scikit_learn(max_table_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslzoo.evaluation.knn, "MAX_TABLE_SIZE", max_table_size)
    (train, labels), (queries, _) = clusters(200, 0), clusters(80, 1)
    pairs = [(k, t) for k in (1, 7, 50) for t in (0.05, 0.5)]
    ours = torch.cat(list(knn_votes(train, labels, queries, classes=4, pairs=pairs)), dim=1)
    for votes, (k, t) in zip(ours, pairs, strict=True):
        theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda d, t=t: np.exp((1 - d) / t))
        theirs.fit(train.double().numpy(), labels.numpy())
        expected = torch.tensor(theirs.predict_proba(queries.double().numpy()), dtype=torch.float32)
        torch.testing.assert_close(votes / votes.sum(dim=1, keepdim=True), expected, atol=1e-4, rtol=0)


def test_predictions_agree_with_a_direct_implementation() -> None:
    (train, labels), (queries, _) = clusters(60, 2), clusters(20, 3)
    ours = knn_predict(train, labels, queries, classes=4, k=9, temperature=0.1)
    unit = F.normalize(train.double())
    for i, query in enumerate(F.normalize(queries.double())):
        similarities = sorted(((float(query @ z), int(y)) for z, y in zip(unit, labels, strict=True)), reverse=True)
        votes = [0.0] * 4
        for similarity, label in similarities[:9]:
            votes[label] += math.exp(similarity / 0.1)
        assert int(ours[i]) == max(range(4), key=votes.__getitem__)


@given(scale=st.floats(0.1, 100))
def test_predictions_do_not_depend_on_feature_norms(scale: float) -> None:
    (train, labels), (queries, _) = clusters(50, 4), clusters(30, 5)
    whole = knn_predict(train, labels, queries, classes=4, k=20, temperature=0.1)
    scaled = knn_predict(train, labels, queries * scale, classes=4, k=20, temperature=0.1)
    assert (whole == scaled).float().mean() > 0.95  # rounding may decide a near tie


@given(max_size=st.integers(1, 4000))
def test_chunks_are_limited_in_size(max_size: int) -> None:
    (train, labels), (queries, _) = clusters(50, 4), clusters(30, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sslzoo.evaluation.knn, "MAX_TABLE_SIZE", max_size)
        chunks = list(knn_votes(train, labels, queries, classes=4, pairs=[(5, 0.1), (9, 0.1)]))
    assert sum(chunk.shape[1] for chunk in chunks) == 30
    assert max(chunk.shape[1] for chunk in chunks) * 50 <= max(max_size, 50)


def test_small_temperatures_do_not_overflow() -> None:
    train, labels = clusters(30, 6)
    nearest = knn_predict(train, labels, train, classes=4, k=10, temperature=0.001)
    assert torch.equal(nearest, labels)


@pytest.mark.parametrize("k", [0, 31])
def test_k_out_of_range_is_an_error(k: int) -> None:
    train, labels = clusters(30, 7)
    with pytest.raises(ValueError, match="must be 1 to 30"):
        knn_predict(train, labels, train, classes=4, k=k, temperature=0.1)
