"""Neighbors, near-duplicates, outliers and clusters against brute force in float64 and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from sslzoo import Embeddings, UserError
from sslzoo.embedding import duplicates, embeddings, nearest


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of similarities of a few rows and columns, so that several are merged."""
    monkeypatch.setattr(nearest, "QUERIES", 7)
    monkeypatch.setattr(nearest, "CANDIDATES", 11)
    monkeypatch.setattr(duplicates, "CHUNK", 13)


def create_vectors(count: int = 60, width: int = 8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    lengths = generator.uniform(0.1, 20, (count, 1))
    return (generator.standard_normal((count, width)) * lengths).astype(np.float32)


def compute_similarities(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Cosine similarities (Q, N) in float64."""
    unit, asked = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in map(np.float64, (vectors, queries)))
    return asked @ unit.T


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("k", [1, 5, 60])
def test_nearest_equal_brute_force(k: int) -> None:
    vectors, queries = create_vectors(), create_vectors(19, seed=1)
    found = Embeddings(vectors).nearest(queries, k)
    table = compute_similarities(vectors, queries)
    np.testing.assert_array_equal(found.indices, np.argsort(-table, axis=1)[:, :k])
    np.testing.assert_allclose(found.similarities, -np.sort(-table, axis=1)[:, :k], atol=2e-6)
    assert found.recall is None


@pytest.mark.usefixtures("small_chunks")
def test_an_image_is_not_its_own_neighbor() -> None:
    vectors = create_vectors()
    found = Embeddings(vectors).nearest(k=3)
    table = compute_similarities(vectors, vectors)
    np.fill_diagonal(table, -2)
    np.testing.assert_array_equal(found.indices, np.argsort(-table, axis=1)[:, :3])
    truth = NearestNeighbors(n_neighbors=4, metric="cosine").fit(vectors).kneighbors(vectors)[1][:, 1:]
    np.testing.assert_array_equal(found.indices, truth)
    assert Embeddings(vectors).nearest(k=1000).indices.shape == (60, 59)


def test_equal_images_are_ordered_by_position() -> None:
    vectors = np.tile(create_vectors(1), (6, 1))
    found = Embeddings(vectors).nearest(vectors[0], 6)
    assert found.indices.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert (found.similarities <= 1).all()


def test_image_without_features_resembles_none() -> None:
    vectors = create_vectors(5)
    vectors[2] = 0
    found = Embeddings(vectors).nearest(k=4)
    assert np.isfinite(found.similarities).all()
    assert (found.similarities[2] == 0).all()


def test_progress_counts_all_queries() -> None:
    counts: list[int] = []
    Embeddings(create_vectors()).nearest(k=2, advance=counts.append)
    Embeddings(create_vectors()).near_duplicates(0.9, advance=counts.append)
    assert sum(counts) == 120


@pytest.mark.usefixtures("small_chunks")
def test_near_duplicates_equal_brute_force() -> None:
    vectors = create_vectors(80, 3)
    found = Embeddings(vectors).near_duplicates(0.97)
    table = np.triu(compute_similarities(vectors, vectors), 1)
    expected = np.argwhere(table >= 0.97)
    assert {tuple(pair) for pair in found.pairs.tolist()} == {tuple(pair) for pair in expected.tolist()}
    np.testing.assert_allclose(found.similarities, table[tuple(found.pairs.T)], atol=2e-6)
    assert (np.diff(found.similarities) <= 0).all()


def test_groups_are_connected_images() -> None:
    angles = np.radians([0, 4, 8, 90, 94, 180, 270])  # the first three are a chain
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = Embeddings(vectors).near_duplicates(float(np.cos(np.radians(5))))
    assert [group.tolist() for group in found.groups] == [[0, 1, 2], [3, 4]]
    assert found.pairs.tolist() == [[0, 1], [1, 2], [3, 4]] or len(found.pairs) == 3
    assert Embeddings(vectors).near_duplicates(1.0).groups == []


def test_equal_images_reach_a_threshold_of_1() -> None:
    vectors = create_vectors(40, 64)
    vectors[30] = vectors[3] * 7
    assert Embeddings(vectors).near_duplicates(1.0).pairs.tolist() == [[3, 30]]


def test_too_many_pairs_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 100)
    with pytest.raises(UserError, match=r"--threshold -0.5: over 100 pairs are as similar; use a larger threshold"):
        Embeddings(create_vectors()).near_duplicates(-0.5)


def test_planted_outlier_is_first() -> None:
    generator = np.random.default_rng(0)
    vectors = (np.eye(4)[np.arange(60) % 3] + 0.05 * generator.standard_normal((60, 4))).astype(np.float32)
    vectors[41] = [0.1, 0, 0, 5]
    found = Embeddings(vectors).outliers(5)
    assert found.order[0] == 41
    table = compute_similarities(vectors, vectors)
    np.fill_diagonal(table, -2)
    np.testing.assert_allclose(found.distances, 1 - np.sort(table, axis=1)[:, -5:].mean(axis=1), atol=2e-6)


def test_planted_clusters_are_found() -> None:
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2, 3], [5, 10, 20, 40])
    vectors = np.eye(6)[classes] + 0.05 * generator.standard_normal((75, 6))
    labels = classes.copy()
    labels[[0, 74]] = -1
    found = Embeddings(vectors, labels=labels, classes=list("abcd")).clusters(4, seed=1)
    assert found.assignment.tolist() == (3 - classes).tolist()  # the largest cluster is the first
    assert (found.purity, found.nmi) == (1, pytest.approx(1))
    assert found.find_members(3).tolist() == sorted(range(5), key=lambda place: -found.similarities[place])
    merged = Embeddings(vectors, labels=labels, classes=list("abcd")).clusters(2, seed=1)
    known = labels >= 0
    assert merged.nmi == pytest.approx(normalized_mutual_info_score(labels[known], merged.assignment[known]))
    counts = [np.bincount(labels[known & (merged.assignment == cluster)]).max() for cluster in (0, 1)]
    assert merged.purity == pytest.approx(sum(counts) / known.sum())
    assert Embeddings(vectors).clusters(4).purity is None


def test_clusters_depend_on_the_seed_only() -> None:
    collection = Embeddings(create_vectors(300, 16))
    first, again, other = (collection.clusters(9, seed=seed).assignment for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def create_large() -> Embeddings:
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((40, 24))
    return Embeddings(centers[np.arange(6000) % 40] + 0.7 * generator.standard_normal((6000, 24)))


def test_approximate_search_measures_its_recall() -> None:
    collection = create_large()
    exact, found = collection.nearest(k=5), collection.nearest(k=5, index="approximate")
    hits = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(exact.indices, found.indices, strict=True)])
    assert found.recall is not None
    assert found.recall >= 0.95
    assert hits == pytest.approx(found.recall, abs=0.03)
    assert not (found.indices == np.arange(6000)[:, None]).any()
    queries = create_vectors(3, 24)
    np.testing.assert_array_equal(
        collection.nearest(queries, 1, index="approximate").indices, collection.nearest(queries, 1).indices
    )


def test_large_collections_are_searched_approximately(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = create_large()
    exact = collection.near_duplicates(0.9)
    monkeypatch.setattr(embeddings, "EXACT", 5000)
    found = collection.near_duplicates(0.9)
    assert found.recall is not None
    assert collection.outliers(3).recall is not None
    assert {tuple(pair) for pair in found.pairs.tolist()} <= {tuple(pair) for pair in exact.pairs.tolist()}
    assert len(found.pairs) >= 0.9 * len(exact.pairs) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.nearest(k=0), "--k 0: must be at least 1"),
        (lambda e: e.nearest(np.ones(3)), r"query: has shape \(1, 3\), must be \(Q, 8\)"),
        (lambda e: e.nearest(index="fast"), "--index fast: must be auto, exact or approximate"),
        (lambda e: e.near_duplicates(1.5), "--threshold 1.5: must be a cosine similarity"),
        (lambda e: e.clusters(61), "--clusters 61: must be 1 to 60, the number of images"),
        (lambda e: Embeddings(np.ones((1, 8))).nearest(), "search needs at least two images"),
    ],
)
def test_invalid_searches_are_one_line_errors(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        call(Embeddings(create_vectors()))


def test_search_reads_mapped_vectors(tmp_path: Path) -> None:
    collection = Embeddings(create_vectors())
    collection.save(tmp_path / "a.npz")
    mapped = Embeddings.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(mapped.nearest(k=3).indices, collection.nearest(k=3).indices)
    np.testing.assert_array_equal(mapped.near_duplicates(0.5).pairs, collection.near_duplicates(0.5).pairs)
    np.testing.assert_array_equal(mapped.clusters(3).assignment, collection.clusters(3).assignment)
