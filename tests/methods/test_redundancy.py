"""Methods that decorrelate dimensions, against float64 restatements in plain loops, and at their extremes."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sslzoo.methods.w_mse import whiten
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, TinyBackbone
from sslzoo.config.layers import find_layer, read_layer
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS, Method
from sslzoo.method.redundancy import standardize, zero_diagonal
from sslzoo.runtime.counter_rng import permutation
from sslzoo.runtime.errors import UserError

seeds = st.integers(0, 2**31)
NAMES = ("barlow-twins", "vicreg", "tico", "w-mse")
DIM, BATCH = 4, 8


def make(name: str, **settings: object) -> Method:
    torch.manual_seed(0)
    part = METHODS.get(name)
    own: dict[str, object] = {"projector": {"layers": 1, "out": DIM}}
    if name == "w-mse":
        own["sub_batch"] = BATCH
    return part(part.Config(name=name, **own | settings), TinyBackbone(norm=False))


def draw(seed: int, views: int = 2, batch: int = BATCH, dim: int = DIM) -> list[Tensor]:
    """Correlated embeddings away from the origin, the views of an image alike."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(batch, dim, generator=generator) @ torch.randn(dim, dim, generator=generator) + 1
    return [base + 0.3 * torch.randn(batch, dim, generator=generator) for _ in range(views)]


def loss_of(method: Method, embeddings: list[Tensor]) -> Tensor:
    if method.name == "tico":
        return method.compute_loss(*embeddings).loss
    return method.score(embeddings)[0]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def columns(z: Tensor) -> list[list[float]]:
    return z.double().T.tolist()


def covariance(x: list[float], y: list[float], correction: int) -> float:
    return sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)) / (len(x) - correction)


def barlow_twins(embeddings: list[Tensor], weight: float) -> float:
    one, other = map(columns, embeddings)
    total = 0.0
    for i, x in enumerate(one):
        for j, y in enumerate(other):
            spreads = (covariance(x, x, 0) + 1e-5) * (covariance(y, y, 0) + 1e-5)
            c = covariance(x, y, 0) / math.sqrt(spreads)
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def vicreg(embeddings: list[Tensor]) -> float:
    one, other = map(columns, embeddings)
    s = mean([(a - b) ** 2 for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)])
    v = c = 0.0
    for z in (one, other):
        v += mean([max(0.0, 1 - math.sqrt(covariance(x, x, 1) + 1e-4)) for x in z]) / 2
        c += sum(covariance(x, y, 1) ** 2 for i, x in enumerate(z) for j, y in enumerate(z) if i != j) / len(z)
    return 25 * s + 25 * v + c


def cholesky(matrix: list[list[float]]) -> list[list[float]]:
    n = len(matrix)
    factor = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(factor[i][k] * factor[j][k] for k in range(j))
            factor[i][j] = math.sqrt(rest) if i == j else rest / factor[j][j]
    return factor


def whitened(group: list[list[float]], eps: float) -> list[list[float]]:
    """Rows of D numbers, whitened as the authors' code does it, on dimensions of unit variance."""
    dims = list(zip(*group, strict=True))
    spread = [math.sqrt(covariance(x, x, 0)) for x in dims]
    dims = [[(a - mean(x)) / s for a in x] for x, s in zip(dims, spread, strict=True)]
    shrunk = [
        [(1 - eps) * covariance(x, y, 1) + (eps if i == j else 0) for j, y in enumerate(dims)]
        for i, x in enumerate(dims)
    ]
    factor = cholesky(shrunk)
    white = []
    for row in zip(*dims, strict=True):
        solved: list[float] = []
        for i, value in enumerate(row):
            solved.append((value - sum(factor[i][k] * solved[k] for k in range(i))) / factor[i][i])
        white.append(solved)
    return white


def cosine(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))


def w_mse(embeddings: list[Tensor], groups: list[list[int]], eps: float) -> float:
    distances = []
    for group in groups:
        white = [whitened(z.double()[group].tolist(), eps) for z in embeddings]
        for i in range(len(white)):
            for j in range(i):
                distances += [2 - 2 * cosine(x, y) for x, y in zip(white[i], white[j], strict=True)]
    return mean(distances)


@given(seeds)
def test_barlow_twins_is_equation_1(seed: int) -> None:
    embeddings = draw(seed)
    method = make("barlow-twins", off_diagonal=0.3, scale=0.1)
    assert loss_of(method, embeddings).item() == pytest.approx(0.1 * barlow_twins(embeddings, 0.3), rel=1e-4)


def test_barlow_twins_by_hand() -> None:
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    method = make("barlow-twins", off_diagonal=0.5)
    assert loss_of(method, [square, square]).item() == pytest.approx(0, abs=1e-6)
    assert loss_of(method, [square, -square]).item() == pytest.approx(2 * 4, rel=1e-4)  # C = -1 on the diagonal
    line = square[:, :1].expand(4, 3)
    assert loss_of(method, [line, line]).item() == pytest.approx(0.5 * 6, rel=1e-4)  # all six pairs correlate


@given(seeds)
def test_vicreg_is_the_sum_of_its_three_terms(seed: int) -> None:
    embeddings = draw(seed)
    assert loss_of(make("vicreg"), embeddings).item() == pytest.approx(vicreg(embeddings), rel=1e-4)


def test_vicreg_by_hand() -> None:
    collapsed = torch.full((8, 3), 2.0)
    loss, logs = make("vicreg").score([collapsed, collapsed])
    assert {name: value.item() for name, value in logs.items()} == pytest.approx(
        {"invariance": 0, "variance": 1 - 0.01, "covariance": 0}
    )
    assert loss.item() == pytest.approx(25 * 0.99)
    square = 2 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert make("vicreg").score([square, square])[0].item() == 0  # spread above gamma, nothing correlates
    assert make("vicreg").score([square, square + 1])[0].item() == pytest.approx(25)
    line = square[:, :1].expand(4, 3)
    assert make("vicreg").score([line, line])[1]["covariance"].item() == pytest.approx(2 * 6 * (16 / 3) ** 2 / 3)


@given(seeds)
def test_tico_with_a_covariance_that_remembers(seed: int) -> None:
    method = make("tico", beta=0.7, rho=3.0)
    expected_c = [[0.0] * DIM for _ in range(DIM)]
    for step in range(3):
        query, key = draw(seed + step)
        z, other = ([F.normalize(row, dim=0).tolist() for row in each.double()] for each in (query, key))
        for i in range(DIM):
            for j in range(DIM):
                batch = mean([row[i] * row[j] for row in z])
                expected_c[i][j] = 0.7 * expected_c[i][j] + 0.3 * batch
        agreement = mean([sum(a * b for a, b in zip(x, y, strict=True)) for x, y in zip(z, other, strict=True)])
        contrast = mean([sum(x[i] * expected_c[i][j] * x[j] for i in range(DIM) for j in range(DIM)) for x in z])
        output = method.compute_loss(query, key)
        assert output.loss.item() == pytest.approx(1 - agreement + 3 * contrast, rel=1e-4)
        method.after_batch(output)
        method.after_step(0.0)
        torch.testing.assert_close(method.covariance.double(), torch.tensor(expected_c).double(), atol=1e-6, rtol=0)


def test_tico_by_hand() -> None:
    method = make("tico", beta=0.9, rho=8.0)
    same = torch.tensor([[5.0, 0, 0, 0]]).expand(8, 4)
    assert method.compute_loss(same, same).loss.item() == pytest.approx(8 * 0.1)  # C = 0.1 where all embeddings point
    assert method.compute_loss(same, -same).loss.item() == pytest.approx(2 + 8 * 0.1)


def test_gradient_of_tico_goes_through_the_batchs_part_of_the_covariance() -> None:
    query, key = (each.requires_grad_() for each in draw(0))
    method = make("tico", beta=0.0, rho=1.0)
    method.compute_loss(query, key).loss.backward()
    restated = query.detach().double().requires_grad_()
    z = F.normalize(restated)
    ((z @ z.T).square().mean() - (z * F.normalize(key.detach().double())).sum(1).mean()).backward()
    torch.testing.assert_close(query.grad.double(), restated.grad, atol=1e-6, rtol=1e-4)


def test_accumulated_batches_move_the_covariance_of_tico_once() -> None:
    whole, parts = make("tico"), make("tico")
    query, key = draw(0)
    for _ in range(2):
        whole.after_batch(whole.compute_loss(query, key))
        whole.after_step(0.0)
        for part in range(2):
            parts.after_batch(parts.compute_loss(query[part::2], key[part::2]))
        parts.after_step(0.0)
    torch.testing.assert_close(whole.covariance, parts.covariance)
    assert whole.covariance.trace().item() == pytest.approx(1 - 0.9**2, rel=1e-5)  # unit vectors, two steps from 0


@pytest.mark.parametrize("views", [2, 4])
def test_w_mse_whitens_random_groups_and_compares_all_pairs_of_views(views: int) -> None:
    embeddings = draw(0, views=views, batch=24)
    method = make("w-mse", views=("strong",) * views, divisions=2, eps=1e-3)
    for step in range(2):
        groups = []
        for division in range(2):
            order = permutation(24, 0, step, division).tolist()
            groups += [order[:8], order[8:16], order[16:]]
        assert loss_of(method, embeddings).item() == pytest.approx(w_mse(embeddings, groups, 1e-3), rel=1e-3)
        method.after_batch(method([torch.zeros(24, 1, 8, 8)] * views, torch.arange(24)))
    assert sorted(row for group in groups[:3] for row in group) == list(range(24))


@given(seeds)
def test_without_shrinkage_whitening_is_that_of_the_covariance(seed: int) -> None:
    one, other = draw(seed, batch=32)
    white = []
    for z in (one.double(), other.double()):
        centered = z - z.mean(0)
        white.append(centered @ torch.linalg.inv(torch.linalg.cholesky(centered.T @ centered / 31)).T)
    expected = 2 - 2 * F.cosine_similarity(*white).mean().item()
    assert loss_of(make("w-mse", sub_batch=32, eps=1e-7), [one, other]).item() == pytest.approx(expected, abs=2e-3)


def test_whitened_groups_have_covariance_one() -> None:
    white = whiten(torch.stack(draw(0, views=3, batch=32)), 1e-6)
    for group in white:
        torch.testing.assert_close(torch.cov(group.T), torch.eye(DIM), atol=1e-3, rtol=0)


@given(seeds, st.sampled_from(NAMES))
def test_the_order_of_images_does_not_matter(seed: int, name: str) -> None:
    embeddings = draw(seed)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(seed))
    method = make(name)
    expected = loss_of(method, embeddings).item()
    assert loss_of(method, [z[order] for z in embeddings]).item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


@given(seeds, st.sampled_from(["barlow-twins", "vicreg", "w-mse"]))
def test_views_can_be_swapped(seed: int, name: str) -> None:
    one, other = draw(seed)
    method = make(name)
    assert loss_of(method, [one, other]).item() == pytest.approx(loss_of(method, [other, one]).item(), rel=1e-4)


@given(seeds, st.sampled_from(NAMES), st.booleans())
def test_dimensions_may_change_sign_and_most_may_change_places(seed: int, name: str, permuted: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    signs = 2.0 * torch.randint(2, (DIM,), generator=generator) - 1
    order = torch.randperm(DIM, generator=generator) if permuted and name != "w-mse" else torch.arange(DIM)
    embeddings = draw(seed)
    method = make(name)
    changed = [(z * signs)[:, order] for z in embeddings]
    assert loss_of(method, changed).item() == pytest.approx(loss_of(method, embeddings).item(), rel=1e-3, abs=1e-4)


@given(seeds, st.sampled_from(["barlow-twins", "w-mse"]))
def test_scale_and_place_of_a_dimension_do_not_matter(seed: int, name: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale, shift = 1 + 9 * torch.rand(DIM, generator=generator), torch.randn(DIM, generator=generator)
    embeddings = [3 * z for z in draw(seed)]
    method = make(name)
    changed = [z * scale + shift for z in embeddings]
    assert loss_of(method, changed).item() == pytest.approx(loss_of(method, embeddings).item(), rel=0.02, abs=2e-3)


def constant(z: Tensor) -> Tensor:
    return torch.full_like(z, 0.7)


EXTREMES: dict[str, Callable[[list[Tensor]], list[Tensor]]] = {
    "constant": lambda views: [constant(z) for z in views],
    "one view constant": lambda views: [constant(views[0]), views[1]],
    "zero": lambda views: [torch.zeros_like(z) for z in views],
    "as large as float16 has": lambda views: [60_000 * torch.sign(z) for z in views],
    "one direction, large": lambda views: [1e4 * z[:, :1] * torch.ones_like(z) for z in views],
    "tiny": lambda views: [1e-6 * z for z in views],
}


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("name", NAMES)
def test_extreme_embeddings_give_a_finite_loss_and_gradient(name: str, extreme: str) -> None:
    embeddings = [z.requires_grad_() for z in EXTREMES[extreme](draw(0, batch=64, dim=32))]
    settings: dict[str, object] = {"projector": {"layers": 1, "out": 32}}
    loss = loss_of(make(name, **settings | ({"sub_batch": 64} if name == "w-mse" else {})), embeddings)
    loss.backward()
    assert loss.isfinite()
    assert all(z.grad is None or z.grad.isfinite().all() for z in embeddings)
    assert embeddings[0].grad is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_two_images(name: str) -> None:
    dim = {"projector": {"layers": 1, "out": 1 if name == "w-mse" else DIM}}
    method = make(name, **dim | ({"sub_batch": 2} if name == "w-mse" else {}))
    output = method([torch.randn(2, 1, 8, 8) for _ in range(2)], torch.arange(2))
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(p.grad.isfinite().all() for p in method.student.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_stops_at_the_embeddings(name: str, dtype: torch.dtype) -> None:
    tiny = Tiny.of("--method", name)
    sample = tiny.sample()
    exact = tiny.method()(sample.views, sample.ids)
    method = tiny.method()
    with torch.autocast("cpu", dtype=dtype):
        output = method(sample.views, sample.ids)
    output.loss.backward()
    assert output.loss.dtype == output.embeddings.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in output.logs.values())
    assert output.loss.item() == pytest.approx(exact.loss.item(), rel=0.2)
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_w_mse_divides_alike_after_a_resume_and_otherwise_at_each_step() -> None:
    embeddings = draw(0, batch=24)
    method, resumed = make("w-mse"), make("w-mse")
    first = loss_of(method, embeddings)
    method.after_batch(method([torch.zeros(24, 1, 8, 8)] * 2, torch.arange(24)))
    second = loss_of(method, embeddings)
    assert not torch.equal(first, second)
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(loss_of(resumed, embeddings), second)


def test_parts() -> None:
    matrix = torch.arange(9.0).view(3, 3)
    assert zero_diagonal(matrix).tolist() == [[0, 1, 2], [3, 0, 5], [6, 7, 0]]
    z = torch.stack(draw(0))
    norm = torch.nn.BatchNorm1d(DIM, affine=False)
    torch.testing.assert_close(standardize(z), torch.stack([norm(each) for each in z]))


MISTAKES: list[tuple[str, dict[str, object], str]] = [
    ("w-mse", {"sub_batch": 64}, "sub_batch = 64: must be above projector.out, 64, to be whitened"),
    ("w-mse", {"views": ("strong",)}, "views = ['strong']: takes two or more"),
    ("w-mse", {"eps": 0}, "eps = 0: input should be greater than 0"),
    ("tico", {"beta": 1}, "beta = 1: input should be less than 1"),
    ("barlow-twins", {"off_diagonal": -1}, "off_diagonal = -1: input should be greater than or equal to 0"),
    ("vicreg", {"views": ("strong",) * 3}, "views"),
]


@pytest.mark.parametrize(("name", "settings", "told"), MISTAKES)
def test_a_bad_setting_is_one_line(name: str, settings: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as error:
        METHODS.get(name).Config(**settings)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


COMMANDS = {
    "--method w-mse --batch-size 100": "method.sub_batch = 32: must divide the batch of 100 images",
    "--method w-mse --batch-size 32 --accumulate 2": "method.sub_batch = 32: must divide the batch of 16 images",
    "--method barlow-twins --target hard": "--target hard: barlow-twins compares no pairs and accepts no target",
}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_what_does_not_go_together_is_one_line(arguments: str) -> None:
    with pytest.raises(UserError) as error:
        compose(arguments.split())
    assert COMMANDS[arguments] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_settings_for_a_data_set_keep_the_layers_and_batch_norm_of_the_projector(name: str) -> None:
    config = METHODS.get(name).Config
    for section, layer in read_layer(find_layer(f"method/{name}")).items():
        projector = config(**layer.get("method", {})).projector
        assert (projector.norm, projector.out_norm) == ("batch", "none"), section
        assert section == "digits" or projector.layers == config().projector.layers, section


def test_directions_are_the_losss() -> None:
    directions = {name: METHODS.get(name).Config().directions for name in NAMES}
    assert directions == {
        "barlow-twins": "symmetric", "vicreg": "symmetric", "tico": "one-directional", "w-mse": "symmetric",
    }  # fmt: skip
    assert METHODS.get("w-mse").Config(views=("strong",) * 4).directions == "symmetric, 4-view"
