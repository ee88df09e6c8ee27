"""DeepCluster-v2: k-means, and what is learned from its clusters and when."""

import pytest
import torch
from test_prototype_methods import units, views
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import TinyBackbone
from sslzoo.method.base import METHODS, Method
from sslzoo.method.build import build_method
from sslzoo.modules.kmeans import spherical_kmeans
from sslzoo.runtime.errors import UserError

EPOCHS = 10


def make(*prototypes: int) -> Method:
    """The method without batch norm on four views of two sizes, its training of 16 images begun."""
    torch.manual_seed(0)
    config = METHODS.get("deepcluster-v2").Config(
        name="deepcluster-v2",
        views=("strong", "strong", "local", "local"),
        projector={"hidden": 16, "out": 8, "norm": "none"},
        prototypes=prototypes,
    )
    method = build_method(config, None, None, TinyBackbone(3, norm=False))
    method.begin(16, EPOCHS)
    method.before_epoch(0)
    return method


def restated_kmeans(points: Tensor, centroids: Tensor, iterations: int) -> tuple[Tensor, list[int]]:
    """Spherical k-means in plain loops."""
    centroids = centroids.clone()

    def nearest() -> list[int]:
        return [max(range(len(centroids)), key=lambda j: (point @ centroids[j]).item()) for point in points]

    for _ in range(iterations):
        clusters = nearest()
        for j in range(len(centroids)):
            members = [points[i] for i, cluster in enumerate(clusters) if cluster == j]
            if members:
                total = torch.stack(members).sum(dim=0)
                centroids[j] = total / total.norm()
    return centroids, nearest()


def test_kmeans_restated(monkeypatch: pytest.MonkeyPatch) -> None:
    points = units(40, 6).double()
    start, _ = spherical_kmeans(points, 7, 0, 1, 2)
    assert all(any(torch.equal(centroid, point) for point in points) for centroid in start)
    assert len(start.unique(dim=0)) == 7
    expected, clusters = restated_kmeans(points, start, 5)
    centroids, nearest = spherical_kmeans(points, 7, 5, 1, 2)
    torch.testing.assert_close(centroids, expected)
    assert nearest.tolist() == clusters
    monkeypatch.setattr("sslzoo.modules.kmeans.CHUNK", 9)
    torch.testing.assert_close(spherical_kmeans(points, 7, 5, 1, 2), (centroids, nearest))
    assert not torch.equal(start, spherical_kmeans(points, 7, 0, 1, 3)[0])  # another epoch begins elsewhere


def test_kmeans_keeps_the_centroid_of_an_empty_cluster() -> None:
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    centroids, nearest = spherical_kmeans(points, 3, 4, 0)
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(3))
    assert centroids.isfinite().all()
    assert nearest[0] == nearest[1] != nearest[2]


def learned(method: Method, *batches: list[int]) -> None:
    """An epoch in which batches of these images are seen."""
    for seed, ids in enumerate(batches):
        method.after_batch(method(views(len(ids), seed), torch.tensor(ids)))


def test_deepcluster_first_epoch_only_collects() -> None:
    method = make(3)
    output = method(views(), torch.arange(16))
    output.loss.backward()
    assert output.loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())
    assert not method.seen.any()
    assert not method.memory.any()  # not before the backward pass


def test_deepcluster_restated() -> None:
    method = make(3, 4, 5)
    learned(method, [3, 1, 4, 15, 9, 2], [6, 5, 8, 7, 0, 10])  # 11 to 14 were not seen
    assert method.seen.nonzero()[:, 0].tolist() == [*range(11), 15]
    method.before_epoch(1)
    ids = method.seen.nonzero()[:, 0]
    centroids = torch.split(method.centroids, (3, 4, 5))
    for number, (count, mine) in enumerate(zip((3, 4, 5), centroids, strict=True)):
        points = method.memory[ids, number % 2]  # the global views in turn
        expected, clusters = spherical_kmeans(points, count, 10, method.seed, 1, number)
        assert torch.equal(mine, expected)
        assert torch.equal(method.assignments[number, ids], clusters)
    assert (method.assignments[:, 11:15] == -1).all()

    x, batch = views(seed=5), torch.tensor([4, 12, 15, 0, 13, 9, 11, 1, 2, 3, 5, 6, 7, 8, 10, 14])
    losses = []
    for number, mine in enumerate(centroids):
        for view in x:
            scores = F.normalize(method.student(view).double(), dim=1) @ mine.double().T / 0.1
            for row, image in zip(scores, batch.tolist(), strict=True):
                if image not in (11, 12, 13, 14):
                    losses.append((row.logsumexp(dim=0) - row[method.assignments[number, image]]).item())
    assert method(x, batch).loss.item() == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_deepcluster_keeps_embeddings_by_id() -> None:
    method, ids = make(3), [7, 2, 11]
    learned(method, ids)
    x = views(3)
    for view in range(2):
        torch.testing.assert_close(method.memory[ids, view], F.normalize(method.student(x[view]), dim=1))
    assert method.memory.any(dim=2).any(dim=1).nonzero()[:, 0].tolist() == sorted(ids)


def test_deepcluster_goes_on_within_an_epoch() -> None:
    method, other = (make(3, 4) for _ in range(2))
    learned(method, list(range(16)))
    method.before_epoch(1)
    other.load_state_dict(method.state_dict())
    loss = other(views(seed=3), torch.arange(16)).loss
    assert torch.equal(loss, method(views(seed=3), torch.arange(16)).loss)
    assert loss > 0


@pytest.mark.parametrize(
    ("id_bound", "epochs", "message"),
    [
        (
            None,
            10,
            "--method deepcluster-v2: keeps images by id, and those of dataset.streaming have none",
        ),
        (16, 1, "--epochs 1: the first epoch of deepcluster-v2 only collects embeddings; takes 2"),
        (4, 10, "--method.prototypes 5: there are 4 images to cluster"),
    ],
)
def test_deepcluster_refusals_are_one_line(id_bound: int | None, epochs: int, message: str) -> None:
    method = make(3, 5)
    with pytest.raises(UserError, match=message):
        method.begin(id_bound, epochs)


def test_deepcluster_tells_of_too_few_images_seen() -> None:
    method = make(3, 5)
    learned(method, [0, 1, 2, 3])
    with pytest.raises(UserError, match=r"--method.prototypes 5: there are 4 images to cluster"):
        method.before_epoch(1)
