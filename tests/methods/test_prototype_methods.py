"""SwAV and DINO: targets over prototypes, and what their state does from step to step."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, TinyBackbone, run
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS, Method
from sslzoo.method.build import build_method
from sslzoo.method.prototypes import WeightNormedPrototypes, measure_spread
from sslzoo.modules.sinkhorn import sinkhorn
from sslzoo.runtime.errors import UserError
from sslzoo.training.setup import create_seeded_backbone

EPOCHS = 10


def make(name: str, **settings: object) -> Method:
    """A method without batch norm on four views of two sizes, its training begun."""
    torch.manual_seed(0)
    config = METHODS.get(name).Config(
        name=name,
        views=("strong", "strong", "local", "local"),
        projector={"hidden": 16, "out": 8, "norm": "none"},
        **settings,
    )
    method = build_method(config, None, None, TinyBackbone(3, norm=False))
    method.begin(16, EPOCHS)
    method.before_epoch(0)
    return method


def views(n: int = 16, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, size, size, generator=generator) for size in (6, 6, 4, 4)]


def units(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def restated(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Sinkhorn and Knopp in plain loops and float64: prototypes get N / K images each, then images sum to 1."""
    n, k = scores.shape
    q = [[math.exp(scores[i, j].item() / epsilon) for j in range(k)] for i in range(n)]
    for _ in range(iterations):
        for j in range(k):
            column = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] *= (n / k) / column
        for i in range(n):
            row = sum(q[i])
            q[i] = [value / row for value in q[i]]
    return torch.tensor(q, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_sinkhorn_restated(epsilon: float, iterations: int) -> None:
    scores = units(7, 8) @ units(5, 8, seed=1).T
    found = sinkhorn(scores, epsilon, iterations)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), restated(scores.double(), epsilon, iterations), atol=1e-5, rtol=1e-4)


def test_sinkhorn_by_hand() -> None:
    """Two images that both prefer the first prototype share the two equally."""
    scores = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    found = sinkhorn(scores, 0.1, 300)
    odds = math.exp((1.0 - 0.5) / 0.1 / 2)  # of the image that prefers it more, after both are shared out
    torch.testing.assert_close(found[0], torch.tensor([odds / (1 + odds), 1 / (1 + odds)]))
    torch.testing.assert_close(found[1], found[0].flip(0))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(2, 6), st.floats(0.1, 1.0), st.integers(0, 1000))
def test_assignments_share_images_out_equally(n: int, k: int, epsilon: float, seed: int) -> None:
    scores = units(n, 4, seed=seed) @ units(k, 4, seed=seed + 1).T
    found = sinkhorn(scores, epsilon, 3)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(n))
    converged = sinkhorn(scores, epsilon, 300)
    torch.testing.assert_close(converged.sum(dim=0), torch.full((k,), n / k), atol=2e-2 * n / k, rtol=0)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(sinkhorn(scores[order], epsilon, 3), found[order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sinkhorn(scores + 3.0, epsilon, 3), found, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_scores_stay_finite(dtype: torch.dtype) -> None:
    scores = torch.tensor([[300.0, -300.0, 0.0], [300.0, -300.0, 0.0], [-300.0, -300.0, -300.0]]).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sinkhorn(scores, 0.05, 3)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))


def test_rows_that_do_not_count_are_as_if_not_there() -> None:
    scores = units(9, 8) @ units(5, 8, seed=1).T
    counted = torch.tensor([1.0] * 6 + [0.0] * 3)
    torch.testing.assert_close(sinkhorn(scores, 0.05, 3, counted)[:6], sinkhorn(scores[:6], 0.05, 3))
    everything = sinkhorn(scores, 0.05, 3, torch.ones(9))
    torch.testing.assert_close(everything, sinkhorn(scores, 0.05, 3))
    assert not torch.allclose(everything[:6], sinkhorn(scores[:6], 0.05, 3), atol=1e-3)


def cross_entropies(targets: list[Tensor], logits: list[Tensor]) -> float:
    """Mean over pairs of a global view's target and another view's prediction, in float64."""
    losses = [
        -(target * (x - x.logsumexp(dim=1, keepdim=True))).sum(dim=1).mean().item()
        for t, target in enumerate(targets)
        for v, x in enumerate(logits)
        if v != t
    ]
    return sum(losses) / len(losses)


def test_swav_assigns_its_queue_along_once_that_is_open() -> None:
    method, x = make("swav", prototypes=5, queue_length=12, queue_epoch=2), views()
    scores = [F.normalize(method.student(v).double(), dim=1) @ method.prototypes.weight.double().T for v in x]
    older = [method.queue(view).keys.double() @ method.prototypes.weight.double().T for view in range(2)]
    logits = [s / 0.1 for s in scores]
    alone = cross_entropies([restated(s.detach(), 0.05, 3) for s in scores[:2]], logits)
    beside = cross_entropies(
        [restated(torch.cat([s, q]).detach(), 0.05, 3)[:16] for s, q in zip(scores[:2], older, strict=True)], logits
    )
    assert abs(alone - beside) > 1e-3
    for epoch, expected in ((0, alone), (1, alone), (2, beside)):
        method.before_epoch(epoch)
        assert method(x, torch.arange(16)).loss.item() == pytest.approx(expected, abs=1e-5)
    output = method(x, torch.arange(16))
    before = method.queue(1).keys.clone()
    assert torch.equal(method.queue(1).keys, before)
    method.after_batch(output)
    for view in range(2):
        kept = method.queue(view).keys
        torch.testing.assert_close(kept.roll(-4, 0), output.keys[view][-12:])  # 16 went round a queue of 12


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["swav", "dino"])
def test_frozen_prototypes_do_not_move(name: str, optimizer: str) -> None:
    method = make(name, prototypes=5, freeze_epochs=2)
    trained = [p for p in method.parameters() if p.requires_grad]
    moves = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer](trained, lr=0.1, weight_decay=0.1)
    method.prototypes.normalize()
    moved = []
    for step in range(4 * EPOCHS):  # four steps an epoch
        before, encoder = method.prototypes.weight.clone(), method.student.projector[0].weight.clone()
        method(views(seed=step), torch.arange(16)).loss.backward()
        method.before_step(step / (4 * EPOCHS))
        moves.step()
        moves.zero_grad()
        moved.append(not torch.equal(before, method.prototypes.weight))
        assert not torch.equal(encoder, method.student.projector[0].weight)
        if step == 10:
            break
    assert moved == [False] * 8 + [True] * 3


def test_swav_prototypes_are_unit_vectors_after_each_step() -> None:
    method = make("swav", prototypes=5)
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(5))
    with torch.no_grad():
        method.prototypes.weight.mul_(3)
    method.after_step(0.5)
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(5))


def test_dino_restated() -> None:
    method = make("dino", prototypes=5, warmup_temperature=0.05, teacher_temperature=0.05)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.05)
        method.prototypes.weight.mul_(torch.rand(5, 1) + 1)  # their lengths must not matter
        method.center.copy_(torch.randn(5) / 10)
    x = views()

    def outputs(encoder: nn.Module, prototypes: nn.Module, crops: list[Tensor]) -> list[Tensor]:
        w = F.normalize(prototypes.weight.double(), dim=1)
        return [F.normalize(encoder(crop).double(), dim=1) @ w.T for crop in crops]

    student = outputs(method.student, method.prototypes, x)
    teacher = outputs(*method.teacher.model, x[:2])
    targets = [((t - method.center.double()) / 0.05).softmax(dim=1).detach() for t in teacher]
    output = method(x, torch.arange(16))
    expected = cross_entropies(targets, [s / 0.1 for s in student])
    assert output.loss.item() == pytest.approx(expected, abs=1e-5)

    before = method.center.double()
    method.after_batch(output)
    mean = torch.cat(teacher).mean(dim=0).detach()
    torch.testing.assert_close(method.center.double(), 0.9 * before + 0.1 * mean, atol=1e-6, rtol=0)


def test_dino_leaves_the_center_alone_until_after_the_batch() -> None:
    method = make("dino", prototypes=5)
    method(views(), torch.arange(16)).loss.backward()
    assert torch.equal(method.center, torch.zeros(5))


def test_dino_teacher_sees_global_views_alone() -> None:
    method = make("dino", prototypes=5)
    seen = []
    method.teacher.register_forward_pre_hook(lambda _, arguments: seen.append(tuple(arguments[0].shape)))
    method(views(), torch.arange(16))
    assert seen == [(32, 3, 6, 6)]


def test_dino_teacher_temperature_warms_up_linearly() -> None:
    method = make("dino", prototypes=5, warmup_temperature=0.04, teacher_temperature=0.07, warmup_epochs=3)
    found = []
    for epoch in range(5):
        method.before_epoch(epoch)
        found.append(method.teacher_temperature.item())
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07, 0.07])
    assert method.state_dict()["teacher_temperature"] == method.teacher_temperature
    for warmup_epochs, first in ((0, 0.07), (1, 0.04)):
        method = make("dino", prototypes=5, teacher_temperature=0.07, warmup_epochs=warmup_epochs)
        assert method.teacher_temperature.item() == pytest.approx(first)
        method.before_epoch(1)
        assert method.teacher_temperature.item() == pytest.approx(0.07)


def test_dino_teacher_follows_head_and_prototypes() -> None:
    method = make("dino", prototypes=5, momentum=0.5, momentum_end=None)
    before = method.teacher.model[1].weight.clone()
    with torch.no_grad():
        method.prototypes.weight.add_(1.0)
    method.after_step(0.3)
    torch.testing.assert_close(method.teacher.model[1].weight, before + 0.5)
    assert method.teacher.momentum_at(0.0) == 0.5
    assert make("dino", prototypes=5).teacher.momentum_at(1.0) == 1.0


def test_weight_norm_is_torchs() -> None:
    ours = WeightNormedPrototypes(5, 8)
    linear = nn.Linear(8, 5, bias=False)
    with torch.no_grad():
        ours.weight.mul_(3)
        linear.weight.copy_(ours.weight)
    theirs = nn.utils.parametrizations.weight_norm(linear)
    theirs.parametrizations.weight.original0.data.fill_(1)
    z = units(6, 8)
    for layer in (ours, theirs):
        layer(z).square().sum().backward()
    torch.testing.assert_close(ours(z), theirs(z))
    torch.testing.assert_close(ours.weight.grad, theirs.parametrizations.weight.original1.grad)


def test_spread_tells_both_ways_to_collapse() -> None:
    uniform, one, apart = torch.full((4, 8), 1 / 8), torch.eye(8)[[2] * 4], torch.eye(8)[:4]
    spreads = [measure_spread(targets) for targets in (uniform, one, apart)]
    logged = [{name: round(value.item(), 4) for name, value in spread.items()} for spread in spreads]
    assert logged[0] == {"certainty": 0, "prototypes_used": 8}
    assert logged[1] == {"certainty": 1, "prototypes_used": 1}
    assert logged[2] == {"certainty": 1, "prototypes_used": 4}


@pytest.mark.parametrize("name", ["swav", "dino", "deepcluster-v2"])
def test_half_precision_keeps_the_loss_in_float32(name: str) -> None:
    tiny = Tiny.of("--method", name)
    method, exact = tiny.method(), tiny.method()
    outputs = []
    for one, enabled in ((method, True), (exact, False)):
        one.before_epoch(0)
        one.after_batch(run(one, tiny.sample(seed=1)))
        one.before_epoch(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            outputs.append(run(one, tiny.sample()))
    assert all(output.loss.dtype == output.embeddings.dtype == torch.float32 for output in outputs)
    assert outputs[0].loss.item() == pytest.approx(outputs[1].loss.item(), rel=0.02)


def test_the_backbone_of_a_run_takes_all_its_views() -> None:
    flags = "--method swav --method.views strong strong local --backbone test_vit --img-size 32"
    flags += " --augmentations.local.size 16"
    experiment = compose(["--backbone.kwargs", "{}", *flags.split()])
    assert experiment.view_sizes == [32, 32, 16]
    backbone = create_seeded_backbone(experiment).eval()
    assert backbone(torch.randn(2, 1, 16, 16)).shape == backbone(torch.randn(2, 1, 32, 32)).shape


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("strong", r"views = \['strong'\]: must be two global views, then local views"),
        (
            "strong local",
            r"method.views = \['strong', 'local'\]: the first two views must .* are 8, 6 pixels",
        ),
        ("local local strong", r"equal sizes, and no view may be larger than them; the sizes are 6, 6, 8 pixels"),
    ],
)
def test_two_global_views_come_first(names: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Tiny.of("--method", "swav", "--method.views", *names.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset", ["cifar10", "imagenet-1k"])
@pytest.mark.parametrize("name", ["swav", "dino", "deepcluster-v2"])
def test_local_views_are_smaller_by_default(name: str, dataset: str) -> None:
    experiment = compose(["--method", name, "--dataset", dataset, "--method.views", "strong", "strong", "local"])
    assert experiment.view_sizes == ([32, 32, 18] if dataset == "cifar10" else [224, 224, 96])
