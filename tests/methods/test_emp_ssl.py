"""EMP-SSL and the total coding rate against restatements in float64 of the authors' code."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.processes import require_equal, train, train_on_two_processes
from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.method.base import Method
from sslzoo.modules.coding_rate import total_coding_rate
from sslzoo.runtime.errors import UserError

seeds = st.integers(0, 2**31)


@cache
def make(flags: str = "") -> Method:
    """A method whose `score` is tested; it has no state."""
    return Tiny.of(*f"--method emp-ssl {flags}".split()).method()


def draw(seed: int, views: int = 3, images: int = 6, dim: int = 4) -> Tensor:
    """Unit embeddings (V, B, D), the crops of an image alike."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(images, dim, generator=generator)
    return F.normalize(base + 0.5 * torch.randn(views, images, dim, generator=generator), dim=2)


def log_determinant(matrix: list[list[float]]) -> float:
    """By Gaussian elimination; the matrix is positive definite."""
    rows, total = [list(row) for row in matrix], 0.0
    for i, pivot in enumerate(rows):
        total += math.log(pivot[i])
        for row in rows[i + 1 :]:
            factor = row[i] / pivot[i]
            for j in range(i, len(row)):
                row[j] -= factor * pivot[j]
    return total


def coding_rate(embeddings: Tensor, eps: float) -> float:
    """1/2 log det(I + D / (B eps) Z^T Z) of (B, D)."""
    z = embeddings.double().tolist()
    dim, scale = len(z[0]), len(z[0]) / (len(z) * eps)
    return 0.5 * log_determinant(
        [[(i == j) + scale * sum(row[i] * row[j] for row in z) for j in range(dim)] for i in range(dim)]
    )


def restated(embeddings: Tensor, invariance: float = 200.0, weight: float = 1.0, eps: float = 0.2) -> float:
    """patch_sim times the negative similarity, and the negative coding rate, each a mean over crops."""
    crops = embeddings.double().tolist()
    similarity = 0.0
    for image in zip(*crops, strict=True):
        center = [sum(values) / len(values) for values in zip(*image, strict=True)]
        for z in image:
            cosine = sum(a * b for a, b in zip(z, center, strict=True)) / (math.hypot(*z) * math.hypot(*center))
            similarity += cosine / len(image) / len(crops[0])
    return -invariance * similarity - weight * sum(coding_rate(crop, eps) for crop in embeddings) / len(embeddings)


@given(seeds, st.sampled_from([(6, 4), (4, 6), (5, 5)]), st.floats(0.05, 1))
def test_coding_rate_restated(seed: int, shape: tuple[int, int], eps: float) -> None:
    embeddings = draw(seed, 3, *shape)
    expected = [coding_rate(z, eps) for z in embeddings]
    assert total_coding_rate(embeddings, eps).tolist() == pytest.approx(expected, rel=1e-4)
    assert total_coding_rate(embeddings.double(), eps).tolist() == pytest.approx(expected, rel=1e-12)


def test_coding_rate_by_hand() -> None:
    # two orthogonal rows in the plane: I + 2 / (2 eps) I, a determinant of (1 + 1 / eps)^2
    assert total_coding_rate(torch.eye(2), 0.2).item() == pytest.approx(math.log(6))
    # two equal ones: eigenvalues 1 + 2 / eps and 1
    assert total_coding_rate(torch.tensor([[1.0, 0], [1, 0]]), 0.2).item() == pytest.approx(math.log(11) / 2)
    # one row of two: scale 2 / eps
    assert total_coding_rate(torch.tensor([[0.6, 0.8]]), 0.2).item() == pytest.approx(math.log(11) / 2)


@given(seeds)
def test_loss_restated(seed: int) -> None:
    embeddings = draw(seed)
    assert make().score(embeddings)[0].item() == pytest.approx(restated(embeddings), rel=1e-5)
    method = make("--method.invariance 3 --method.coding-rate 2 --method.eps 0.5")
    assert method.score(embeddings)[0].item() == pytest.approx(restated(embeddings, 3, 2, 0.5), rel=1e-5)


def test_loss_by_hand() -> None:
    opposite = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]])  # the crops of each image are orthogonal
    loss, logs = make().score(opposite)
    assert logs["invariance"].item() == pytest.approx(math.sqrt(0.5))
    assert logs["coding_rate"].item() == pytest.approx(math.log(6))
    assert loss.item() == pytest.approx(-200 * math.sqrt(0.5) - math.log(6))
    equal = opposite[:1].expand(4, 2, 2)
    assert make().score(equal)[0].item() == pytest.approx(-200 - math.log(6))


def test_a_step_scores_the_embeddings_of_all_crops() -> None:
    tiny = Tiny.of("--method", "emp-ssl")
    method, sample = tiny.method(norm=False), tiny.sample()
    assert len(sample.views) == tiny.experiment.method.patches == 4
    features = torch.cat([method.student.backbone(view) for view in sample.views])
    embeddings = F.normalize(method.student.projector(features), dim=1).unflatten(0, (4, tiny.images))  # norm of all
    output = run(tiny.method(norm=False), sample)
    assert output.loss.item() == pytest.approx(restated(embeddings.detach()), rel=1e-5)
    torch.testing.assert_close(output.embeddings, embeddings[0].detach(), atol=1e-5, rtol=0)


def test_gradient_restated() -> None:
    embeddings = draw(0).requires_grad_()
    make().score(embeddings)[0].backward()
    z = embeddings.detach().double().requires_grad_()
    center = z.mean(0)  # for unit vectors the mean similarity to the mean is the mean's length
    _, count, dim = z.shape
    rates = [torch.logdet(torch.eye(dim).double() + dim / (count * 0.2) * crop.T @ crop) / 2 for crop in z]
    cosine = (z * center).sum(2) / (z.norm(dim=2) * center.norm(dim=1))
    (-200 * cosine.mean() - torch.stack(rates).mean()).backward()
    torch.testing.assert_close(embeddings.grad.double(), z.grad, atol=1e-4, rtol=1e-4)


@given(seeds)
def test_similarity_to_the_mean_is_the_length_of_the_mean(seed: int) -> None:
    embeddings = draw(seed)
    expected = embeddings.mean(0).norm(dim=1).mean().item()
    assert make().score(embeddings)[1]["invariance"].item() == pytest.approx(expected, rel=1e-5)


@given(seeds)
def test_order_of_images_and_of_crops_does_not_matter(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, method = draw(seed), make()
    images, crops = torch.randperm(6, generator=generator), torch.randperm(3, generator=generator)
    expected = method.score(embeddings)[0].item()
    assert method.score(embeddings[crops][:, images])[0].item() == pytest.approx(expected, rel=1e-5)


@given(seeds, st.sampled_from([(6, 4), (4, 6)]))
def test_a_rotation_of_the_embeddings_does_not_matter(seed: int, shape: tuple[int, int]) -> None:
    embeddings, method = draw(seed, 3, *shape).double(), make()
    rotation, _ = torch.linalg.qr(
        torch.randn(shape[1], shape[1], generator=torch.Generator().manual_seed(seed)).double()
    )
    rotated = embeddings @ rotation
    torch.testing.assert_close(total_coding_rate(rotated, 0.2), total_coding_rate(embeddings, 0.2))
    assert method.score(rotated)[0].item() == pytest.approx(method.score(embeddings)[0].item(), rel=1e-9)


@given(seeds)
def test_embeddings_that_spread_have_the_largest_coding_rate(seed: int) -> None:
    most = total_coding_rate(torch.eye(4).repeat(2, 1), 0.2).item()  # an orthonormal basis, twice
    assert most == pytest.approx(4 * math.log(1 + 1 / 0.2) / 2, rel=1e-5)
    assert total_coding_rate(draw(seed, 1, 8, 4)[0], 0.2).item() <= most + 1e-5
    collapsed = F.normalize(torch.ones(8, 4), dim=1)
    assert total_coding_rate(draw(seed, 1, 8, 4)[0], 0.2) >= total_coding_rate(collapsed, 0.2) - 1e-5


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0])
@pytest.mark.parametrize("shape", [(2, 64, 32), (2, 16, 256)])
def test_extreme_embeddings_give_a_finite_loss_and_gradient(shape: tuple[int, int, int], scale: float) -> None:
    embeddings = torch.full(shape, scale, requires_grad=True)
    loss, _ = make().score(F.normalize(embeddings, dim=2))
    loss.backward()
    assert loss.isfinite()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stops_at_the_embeddings(dtype: torch.dtype) -> None:
    tiny = Tiny.of("--method", "emp-ssl")
    exact, sample = run(tiny.method(), tiny.sample()).loss.item(), tiny.sample()
    with torch.autocast("cpu", dtype=dtype):
        output = run(tiny.method(), sample)
    assert output.loss.dtype == output.embeddings.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in output.logs.values())
    assert output.loss.item() == pytest.approx(exact, rel=0.05)


@pytest.mark.long
def test_two_processes_score_the_global_batch_also_where_it_is_larger_than_the_embedding() -> None:
    cases = [f"--method emp-ssl --method.patches 3 --method.projector.out {out}".split() for out in (8, 64)]
    for case, outcomes in zip(cases, train_on_two_processes(cases), strict=True):
        require_equal(train(case), outcomes)


def test_one_setting_is_the_number_of_crops() -> None:
    def views(*flags: str) -> tuple[str, ...]:
        return compose(["--method", "emp-ssl", "--dataset", "cifar10", *flags]).method.views

    assert views() == ("patch",) * 20
    assert views("--method.patches", "5") == ("patch",) * 5
    assert views("--method.patches", "3", "--method.views", "strong") == ("strong",) * 3
    assert views("--method.views", "strong", "strong") == ("strong",) * 20


def test_a_config_with_all_views_may_be_given_another_number(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(compose(["--method", "emp-ssl", "--method.patches", "6"]).as_yaml(), encoding="utf-8")
    assert len(compose(["--config", str(config)]).method.views) == 6
    assert len(compose(["--config", str(config), "--method.patches", "3"]).method.views) == 3


def test_settings_for_small_images_are_those_of_the_authors() -> None:
    experiment = compose(["--method", "emp-ssl", "--dataset", "cifar10", "--epochs", "1"])
    method, optimizer, patch = experiment.method, experiment.optimizer, experiment.augmentations.patch
    assert (method.patches, method.invariance, method.coding_rate, method.eps) == (20, 200, 1, 0.2)
    assert (method.projector.layers, method.projector.hidden, method.projector.out) == (3, 4096, 1024)
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, optimizer.decay_all) == ("nlars", 0.3, 1e-4, False)
    assert optimizer.kwargs == {"trust_coeff": 0.005, "trust_clip": True}
    assert (experiment.batch_size, experiment.schedule.warmup_epochs, experiment.schedule.name) == (100, 0, "cosine")
    assert (patch.crop_scale, patch.crop_ratio) == ((0.25, 0.25), (1, 1))
    assert (patch.flip, patch.jitter, patch.grayscale, patch.blur, patch.solarize) == (0.5, 0.8, 0.2, 0.1, 0.1)
    assert (patch.brightness, patch.contrast, patch.saturation, patch.hue) == (0.4, 0.4, 0.4, 0.2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--method.views strong weak", r"takes one augmentation, that of all crops"),
        ("--method.patches 1", r"patches = 1: input should be greater than or equal to 2"),
        ("--method.patches 2000", r"patches = 2000: input should be less than or equal to 1000"),
        ("--method.views patches", r"no such augmentation: patches; did you mean patch"),
    ],
)
def test_bad_settings_are_one_line(flags: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose(["--method", "emp-ssl", *flags.split()])


def test_it_takes_no_target() -> None:
    with pytest.raises(UserError, match="emp-ssl compares no pairs and accepts no target"):
        compose(["--method", "emp-ssl", "--target", "hard"])
