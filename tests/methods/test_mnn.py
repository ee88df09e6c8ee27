"""MNN against restatements in float64 of its authors' code, and the parts of its mixture."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Sample, Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.losses import LOSSES
from sslzoo.method.base import Method
from sslzoo.modules.mixing import mix_with_neighbors
from sslzoo.modules.queue import EmbeddingQueue, Queue
from sslzoo.runtime.counter_rng import uniform
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS

seeds = st.integers(0, 2**31)
shares = st.floats(0, 1, width=32)


def tiny(flags: str = "", name: str = "mnn") -> Tiny:
    queue = "--method.queue-size 40" if name == "mnn" else ""
    return Tiny.of(*f"--method {name} {queue} --method.split-bn 1 {flags}".split())


def rows(embeddings: Tensor) -> list[list[float]]:
    return embeddings.detach().double().tolist()


def unit(row: list[float]) -> list[float]:
    length = math.hypot(*row)
    return [value / length for value in row]


def distance(one: list[float], other: list[float]) -> float:
    return 2 - 2 * sum(a * b for a, b in zip(one, other, strict=True))


def restated(
    predictions: Tensor, keys: Tensor, queue: Tensor, share: float, neighbors: int, mixture: str = "embeddings"
) -> float:
    """Loss of one direction: distance to the key, and mean distance to the mixtures, mean over the batch."""
    total = 0.0
    for p, k in zip(rows(predictions), rows(keys), strict=True):
        p, own = unit(p), unit(k)
        nearest = sorted(rows(queue), key=lambda row: distance(own, unit(row)))[:neighbors]
        total += distance(p, own) / len(keys)
        for n in nearest:
            if mixture == "directions":
                mixed = [share * a + (1 - share) * b for a, b in zip(unit(n), own, strict=True)]
            else:
                mixed = unit([share * a + (1 - share) * b for a, b in zip(n, k, strict=True)])
            total += distance(p, mixed) / neighbors / len(keys)
    return total


def predictions_and_keys(method: Method, sample: Sample, query: int, key: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return method.predictor(method.student(sample.views[query])), method.teacher(sample.views[key])


@pytest.mark.parametrize("mixture", ["embeddings", "directions"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("share", [None, 0.3])
def test_loss_restated(symmetric: bool, share: float | None, mixture: str) -> None:
    flags = f"--method.neighbors 3 --method.symmetric {str(symmetric).lower()} --method.mixture {mixture}"
    mnn = tiny(f"{flags} --method.share {share}")
    method, sample = mnn.method(), mnn.sample()
    method.queue.keys.mul_(torch.linspace(0.2, 3, 40)[:, None])  # lengths matter for the mixture, not for the look-up
    queue = method.queue.keys.clone()
    for step in range(2):
        total, directions = 0.0, [(0, 1), (1, 0)][: 1 + symmetric]
        for q, k in directions:
            drawn = uniform(0, k, torch.tensor(step)).item() if share is None else share
            total += restated(*predictions_and_keys(method, sample, q, k), queue, drawn, 3, mixture) / len(directions)
        output = run(method, sample)
        assert output.loss.item() == pytest.approx(total, abs=1e-5)
        assert torch.equal(method.queue.keys, queue)
        method.step += 1


def test_mixture_by_hand() -> None:
    method = tiny("--method.projector.out 2 --method.predictor.out 2 --method.neighbors 2 --method.share 0.25").method()
    method.queue.keys.copy_(torch.tensor([[-1.0, 0]]).expand(40, 2))
    method.queue.keys[7] = torch.tensor([0.0, 4])
    method.queue.keys[9] = torch.tensor([5.0, 0])
    key = torch.tensor([[4.0, 0]])
    mixtures = method.mix(key, 1)
    torch.testing.assert_close(mixtures, torch.tensor([[[1.0, 0], [3 / math.sqrt(10), 1 / math.sqrt(10)]]]))
    method.config = method.config.model_copy(update={"mixture": "directions"})
    torch.testing.assert_close(method.mix(key, 1), torch.tensor([[[1.0, 0], [0.75, 0.25]]]))


def test_without_neighbors_in_the_mixture_the_loss_is_that_of_byol_twice() -> None:
    mnn = tiny("--method.share 0")
    byol = tiny("--method.views strong weak --method.momentum-end None --method.projector.norm batch "
                "--method.predictor.norm batch --method.direction-reduction mean", name="byol")  # fmt: skip
    sample = mnn.sample()
    assert run(mnn.method(), sample).loss.item() == pytest.approx(2 * run(byol.method(), sample).loss.item(), rel=1e-5)


def test_mixtures_of_neighbors_alone_are_the_neighbors() -> None:
    mnn = tiny("--method.share 1 --method.symmetric false --method.neighbors 4")
    method, sample = mnn.method(), mnn.sample()
    prediction, key = (F.normalize(each) for each in predictions_and_keys(method, sample, 0, 1))
    similarity = prediction @ method.queue.keys.T
    found = (key @ method.queue.keys.T).topk(4, dim=1).indices
    expected = 4 - 2 * (prediction * key).sum(1).mean() - 2 * similarity.gather(1, found).mean()
    assert run(method, sample).loss.item() == pytest.approx(expected.item(), abs=1e-5)


@given(seeds, shares)
def test_the_target_is_half_of_the_loss_with_mixed_directions(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    prediction, key, queue = (
        F.normalize(torch.randn(n, 8, generator=generator, dtype=torch.float64)) for n in (6, 6, 20)
    )
    target, loss = TARGETS.get("mixed-neighbors"), LOSSES.get("cosine")
    weights = target(target.Config(neighbors=3, share=share))(torch.ones(6), key @ queue.T).weights
    student = torch.cat([(prediction * key).sum(1, keepdim=True), prediction @ queue.T], dim=1)
    half = loss(loss.Config())(student, weights).mean().item()
    assert 2 * half == pytest.approx(restated(prediction, key, queue, share, 3, "directions"), abs=1e-9)


def test_weights_of_the_target() -> None:
    candidates = torch.tensor([[0.1, 0.9, -0.2, 0.8]])
    target = TARGETS.get("mixed-neighbors")
    weights = {
        share: target(target.Config(neighbors=2, share=share))(torch.ones(1), candidates) for share in (0, 0.5, 1)
    }
    assert weights[0].weights[0].tolist() == [1, 0, 0, 0, 0]
    assert weights[0.5].weights[0].tolist() == pytest.approx([0.75, 0, 0.125, 0, 0.125])
    assert weights[1].weights[0].tolist() == pytest.approx([0.5, 0, 0.25, 0, 0.25])
    few = target(target.Config(neighbors=9, share=1))(torch.ones(1), candidates).weights
    assert few[0].tolist() == pytest.approx([0.5, *[0.125] * 4])


@given(seeds, shares)
def test_order_of_the_batch_does_not_matter(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, neighbors = torch.randn(7, 4, generator=generator), torch.randn(7, 3, 4, generator=generator)
    order = torch.randperm(7, generator=generator)
    mixed = mix_with_neighbors(embeddings, neighbors, share)
    assert torch.equal(mix_with_neighbors(embeddings[order], neighbors[order], share), mixed[order])
    assert mixed.shape == neighbors.shape


@given(seeds, shares)
def test_a_mixture_lies_between_the_embedding_and_its_neighbor(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, neighbors = torch.randn(5, 4, generator=generator), torch.randn(5, 2, 4, generator=generator)
    mixed = mix_with_neighbors(embeddings, neighbors, share)
    assert torch.equal(mix_with_neighbors(embeddings, neighbors, 1.0), neighbors)
    assert torch.equal(mix_with_neighbors(embeddings, neighbors, 0.0), embeddings[:, None].expand(5, 2, 4))
    step = (neighbors - embeddings[:, None]).norm(dim=2)
    torch.testing.assert_close((mixed - embeddings[:, None]).norm(dim=2), share * step, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close((neighbors - mixed).norm(dim=2), (1 - share) * step, atol=1e-5, rtol=1e-4)


@given(seeds)
def test_lengths_do_not_change_which_rows_are_nearest(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, lengths = torch.randn(4, 8, generator=generator), 0.1 + 5 * torch.rand(30, generator=generator)
    directions, long = Queue(30, 8), EmbeddingQueue(30, 8)
    long.keys.copy_(directions.keys * lengths[:, None])
    found = long.nearest(embeddings * 3, 5)
    torch.testing.assert_close(F.normalize(found, dim=2), directions.nearest(embeddings, 5))
    assert torch.isin(found, long.keys).all()


def test_the_queue_keeps_one_key_of_each_image_with_its_length() -> None:
    mnn = tiny()
    method, sample = mnn.method(), mnn.sample()
    _, key = predictions_and_keys(method, sample, 0, 1)
    method.after_batch(run(method, sample))
    assert int(method.queue.cursor) == len(sample.ids)
    torch.testing.assert_close(method.queue.keys[: len(sample.ids)], key, atol=1e-5, rtol=1e-4)
    assert (key.norm(dim=1) - 1).abs().max() > 0.1


def test_lambda_differs_between_directions_and_batches_and_continues_after_a_resume() -> None:
    mnn = tiny("--method.neighbors 1")
    method, resumed, sample = mnn.method(), mnn.method(), mnn.sample()
    key = torch.randn(4, method.config.projector.out)
    first = [method.mix(key, which) for which in (0, 1)]
    method.after_batch(run(method, sample))
    resumed.load_state_dict(method.state_dict())
    method.queue.load_state_dict(mnn.method().queue.state_dict())
    second = [method.mix(key, which) for which in (0, 1)]
    mixtures = [*first, *second]
    assert all(not torch.equal(a, b) for i, a in enumerate(mixtures) for b in mixtures[:i])
    resumed.queue.load_state_dict(method.queue.state_dict())
    assert all(torch.equal(resumed.mix(key, which), second[which]) for which in (0, 1))


def test_keys_are_shuffled_before_split_batch_norm() -> None:
    keys = {}
    for shuffle in ("true", "false"):
        mnn = Tiny.of(*f"--method mnn --method.split-bn 4 --method.shuffle {shuffle}".split())
        keys[shuffle] = mnn.method().encode_keys(mnn.sample().views[1], 1)
    assert not torch.allclose(keys["true"], keys["false"], atol=1e-5)


def test_half_precision_keeps_keys_and_similarities_in_float32() -> None:
    mnn = tiny()
    method, sample = mnn.method(), mnn.sample()
    exact = run(mnn.method(), sample).loss.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(method, sample)
    assert output.loss.dtype == output.keys.dtype == output.embeddings.dtype == torch.float32
    assert output.loss.item() == pytest.approx(exact, rel=0.1)


def test_settings_for_small_images_are_those_of_the_authors() -> None:
    experiment = compose(["--method", "mnn", "--dataset", "cifar10"])
    method, optimizer = experiment.method, experiment.optimizer
    assert method.symmetric
    assert (method.split_bn, method.shuffle, method.queue_size, method.neighbors, method.share) == (
        8,
        True,
        4096,
        5,
        None,
    )
    assert (method.momentum, method.momentum_end, method.views) == (0.99, None, ("strong", "weak"))
    assert method.projector == method.predictor
    assert (method.projector.hidden, method.projector.out, method.projector.norm) == (2048, 128, "batch")
    assert (optimizer.name, optimizer.lr, optimizer.lr_batch, optimizer.weight_decay) == ("momentum", 0.06, 256, 5e-4)
    assert optimizer.decay_all
    assert (experiment.epochs, experiment.batch_size, experiment.schedule.warmup_epochs) == (200, 256, 5)
    assert experiment.augmentations.weak.flip == 0.9


def test_bad_settings_are_one_line() -> None:
    with pytest.raises(UserError, match=r"share = 1.5: input should be less than or equal to 1"):
        compose(["--method", "mnn", "--method.share", "1.5"])
    with pytest.raises(UserError, match=r"predictor.out = 32: must be projector.out, 64"):
        compose(["--method", "mnn", "--method.predictor.out", "32"])
