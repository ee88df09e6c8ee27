"""Purity and the weight of neighbors against values by hand, by chance, and direct implementations in loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sslzoo.evaluation.neighborhood import measure_neighbor_mass, neighborhood_purity, same_class_chance
from sslzoo.targets import TARGETS, Target, TargetOutput


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def create_target(name: str, **settings: float) -> Target:
    part = TARGETS.get(name)
    return part(part.Config(**settings))


def at_degrees(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def clusters(n: int, classes: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) % classes
    return torch.eye(classes)[labels] + spread * gaussian(n, classes, seed=seed), labels


# chance


def test_chance_matches_calculation_by_hand() -> None:
    assert same_class_chance(torch.tensor([0, 0, 5, 5, 5])) == pytest.approx((2 * 1 + 3 * 2) / (5 * 4))
    assert same_class_chance(torch.arange(4)) == 0
    assert same_class_chance(torch.zeros(4, dtype=torch.int64)) == 1
    with pytest.raises(ValueError, match="at least two images, got 1"):
        same_class_chance(torch.tensor([3]))


# purity


def test_purity_matches_calculation_by_hand() -> None:
    features = at_degrees(0, 10, 25, 100) * torch.tensor([[1.0], [9.0], [0.1], [2.0]])  # norms have no effect
    labels = torch.tensor([0, 0, 1, 1])
    # nearest: 0 -> 1, 2, 3; 1 -> 0, 2, 3; 2 -> 1, 0, 3; 3 -> 2, 1, 0
    purity = neighborhood_purity(features, labels, ks=(1, 2, 3))
    assert purity.tolist() == pytest.approx([3 / 4, 3 / 8, 4 / 12])


def test_separated_clusters_are_pure() -> None:
    features, labels = clusters(60, 3, 0.01)
    assert neighborhood_purity(features, labels, ks=(1, 19)).tolist() == [1, 1]
    beyond = neighborhood_purity(features, labels, ks=(38,)).item()
    assert beyond == pytest.approx(0.5)  # 19 others of the class, and as many of other classes


def test_random_labels_are_near_chance() -> None:
    labels = torch.multinomial(
        torch.tensor([0.6, 0.3, 0.1]), 2000, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    purity = neighborhood_purity(gaussian(2000, 8), labels, ks=(1, 10, 1999))
    chance = same_class_chance(labels)
    assert purity.tolist() == pytest.approx([chance] * 3, abs=0.03)
    assert purity[2].item() == pytest.approx(chance, abs=1e-12)  # all others are neighbors


def test_image_is_not_its_own_neighbor_even_among_equal_features() -> None:
    features = torch.ones(6, 3)
    assert neighborhood_purity(features, torch.arange(6), ks=(1, 5)).tolist() == [0, 0]
    assert neighborhood_purity(torch.eye(4), torch.tensor([0, 0, 1, 1]), ks=(3,)).item() == pytest.approx(1 / 3)


@given(chunk=st.integers(1, 60), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_purity_is_invariant_to_chunks_scale_order_and_rotation(chunk: int, scale: float, seed: int) -> None:
    features, labels = clusters(50, 3, 0.6)
    rotation = scale * torch.linalg.qr(gaussian(3, 3, seed=seed)).Q
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    whole = neighborhood_purity(features, labels, ks=(1, 7))
    parts = neighborhood_purity(features[order] @ rotation, labels[order], ks=(1, 7), chunk=chunk)
    torch.testing.assert_close(parts, whole, atol=0.02, rtol=0)  # rounding may decide a near tie


@pytest.mark.parametrize("k", [0, 6])
def test_k_out_of_range_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 5"):
        neighborhood_purity(torch.eye(6), torch.arange(6), ks=(k,))


# weight of neighbors


def test_hard_target_matches_calculation_by_hand() -> None:
    # nearest: 0 and 1 each other, 2 and 3 each other; only the first two share a class
    keys, labels = at_degrees(0, 10, 100, 115), torch.tensor([0, 0, 1, 2])
    mass = measure_neighbor_mass(create_target("hard", neighbors=1), keys, labels, queue_size=3)
    assert mass.extra_mass == pytest.approx(1)
    assert mass.same_class == pytest.approx(1 / 2)
    assert mass.chance == pytest.approx((1 / 3 + 1 / 3 + 0 + 0) / 4)
    two = measure_neighbor_mass(create_target("hard", neighbors=2), keys, labels, queue_size=3)
    assert two.extra_mass == pytest.approx(2)
    assert two.same_class == pytest.approx(1 / 4)


def compute_mass_in_loops(name: str, keys: Tensor, labels: Tensor, neighbors: int) -> tuple[float, float, float]:
    """Compute extra mass, share on the same class, and share by chance in plain Python, leaving one out."""
    unit, n = F.normalize(keys.double()), len(keys)
    masses, total, right, chance = [], 0.0, 0.0, 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        cosines = [float(unit[i] @ unit[j]) for j in others]
        exponentials = [math.exp(s / 0.05) for s in cosines]
        q = [e / sum(exponentials) for e in exponentials]
        c = 1 + sum(p * math.log(p) for p in q) / math.log(n - 1)
        nearest = sorted(range(n - 1), key=lambda a: -cosines[a])[:neighbors]
        if name == "adaptive-soft":
            extra = [min(1.0, c * neighbors * p) for p in q]
        else:
            extra = [(1.0 if name == "hard" else c) if a in nearest else 0.0 for a in range(n - 1)]
        same = [bool(labels[j] == labels[i]) for j in others]
        weight = sum(extra) / (1 + sum(extra))
        masses.append(sum(extra))
        total += weight
        right += sum(e for e, s in zip(extra, same, strict=True) if s) / (1 + sum(extra))
        chance += weight * sum(same) / (n - 1)
    return sum(masses) / n, right / total, chance / total


@pytest.mark.parametrize("name", ["hard", "adaptive-hard", "adaptive-soft"])
@pytest.mark.parametrize("neighbors", [1, 4])
def test_mass_of_each_target_agrees_with_loops(name: str, neighbors: int) -> None:
    keys, labels = clusters(40, 4, 0.4)
    labels[:7] = 0  # classes of unequal size
    mass = measure_neighbor_mass(create_target(name, neighbors=neighbors), keys, labels, queue_size=39, chunk=7)
    expected = compute_mass_in_loops(name, keys, labels, neighbors)
    assert (mass.extra_mass, mass.same_class, mass.chance) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("queue_size", [2, 30, 198, 199])
@pytest.mark.parametrize("chunk", [1, 64, 500])
def test_no_image_is_among_its_own_candidates(queue_size: int, chunk: int) -> None:
    """Each image is the only one of its class, so weight on its class would be weight on the image itself."""
    mass = measure_neighbor_mass(
        create_target("hard"), gaussian(200, 16), torch.arange(200), queue_size=queue_size, chunk=chunk
    )
    assert (mass.extra_mass, mass.same_class, mass.chance) == (pytest.approx(1), 0, 0)


@pytest.mark.parametrize("queue_size", [2, 5, 9])
def test_candidates_contain_each_other_image_at_most_once(queue_size: int) -> None:
    seen: list[Tensor] = []

    class Spy(create_target("hard").__class__):  # type: ignore[misc]
        def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
            seen.append(candidates)
            return super().forward(positive, candidates)

    keys = at_degrees(*(2.0**i for i in range(10))) / 7  # 45 different angles between two
    measure_neighbor_mass(Spy(Spy.Config()), keys, torch.arange(10), queue_size=queue_size, chunk=4)
    unit = F.normalize(keys)
    table = (unit @ unit.T)[~torch.eye(10, dtype=torch.bool)].view(10, 9)
    rows = [{round(float(s), 4) for s in row} for row in table]
    for candidates in torch.cat(seen):
        cosines = {round(float(s), 4) for s in candidates}
        assert len(cosines) == queue_size
        assert any(cosines <= row for row in rows)


def test_random_labels_are_near_chance_and_clusters_are_not() -> None:
    labels = torch.arange(600) % 3
    target = create_target("adaptive-soft", neighbors=5)
    noise = measure_neighbor_mass(target, gaussian(600, 16), labels, queue_size=256)
    assert noise.same_class == pytest.approx(noise.chance, abs=0.05)
    assert noise.chance == pytest.approx(1 / 3, abs=0.02)
    tight = measure_neighbor_mass(target, clusters(600, 3, 0.05)[0], labels, queue_size=256)
    assert tight.same_class == pytest.approx(1, abs=1e-3)


@given(chunk=st.integers(1, 60), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_mass_over_all_others_is_invariant_to_order_and_rotation(chunk: int, scale: float, seed: int) -> None:
    keys, labels = clusters(50, 3, 0.4)
    target = create_target("adaptive-soft", neighbors=3)
    rotation = scale * torch.linalg.qr(gaussian(3, 3, seed=seed)).Q
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    whole = measure_neighbor_mass(target, keys, labels, queue_size=49)
    parts = measure_neighbor_mass(target, keys[order] @ rotation, labels[order], queue_size=49, seed=seed, chunk=chunk)
    assert parts.extra_mass == pytest.approx(whole.extra_mass, rel=1e-4)
    assert parts.same_class == pytest.approx(whole.same_class, rel=1e-4)


def test_targets_without_weight_on_candidates_or_positive() -> None:
    class Relational(create_target("hard").__class__):  # type: ignore[misc]
        def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
            return TargetOutput(torch.cat([0 * positive[:, None], F.softmax(candidates / 0.05, dim=1)], dim=1), {})

    keys, labels = clusters(30, 3, 0.05)
    one_hot = measure_neighbor_mass(create_target("one-hot"), keys, labels, queue_size=20)
    assert (one_hot.extra_mass, one_hot.same_class, one_hot.chance) == (0, None, None)
    dropped = measure_neighbor_mass(Relational(Relational.Config()), keys, labels, queue_size=20)
    assert dropped.extra_mass is None
    assert dropped.same_class == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("queue_size", [1, 6])
def test_queue_size_out_of_range_is_an_error(queue_size: int) -> None:
    with pytest.raises(ValueError, match=r"queue_size = \d: must be 2 to 5"):
        measure_neighbor_mass(create_target("hard"), torch.eye(6), torch.arange(6), queue_size=queue_size)
