"""Methods whose positives are neighbors in a queue: lookup, state, settings and errors."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.modules.queue import Queue
from sslzoo.runtime.errors import UserError


def tiny(name: str, flags: str = "") -> Tiny:
    return Tiny.of(*f"--method {name} --method.queue-size 40 {flags}".split())


def unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.detach().double(), dim=-1)


def test_nearest_rows_come_first() -> None:
    queue = Queue(6, 2)
    queue.keys.copy_(F.normalize(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [1, 0.2]])))
    found = queue.nearest(F.normalize(torch.tensor([[1.0, 0.05], [-1, -0.5]])), 3)
    assert torch.equal(found[0], queue.keys[[0, 5, 4]])
    assert torch.equal(found[1], queue.keys[[2, 3, 1]])
    assert queue.nearest(queue.keys[:1], 10).shape == (1, 6, 2)


@pytest.mark.parametrize("neighbors", [0, 4])
def test_msf_is_the_mean_over_the_nearest_of_a_bank_that_holds_the_batch(neighbors: int) -> None:
    msf = tiny("msf", f"--target.neighbors {neighbors}")
    method, sample = msf.method(), msf.sample()
    prediction = unit(method.predictor(method.student(sample.views[0])))
    keys = unit(method.teacher(sample.views[1]))
    queue = [*keys, *method.queue.keys.double()]
    total = 0.0
    for i in range(len(keys)):
        distance = [2 - 2 * float(keys[i] @ z) for z in queue]
        nearest = sorted(range(len(queue)), key=distance.__getitem__)[: neighbors + 1]
        assert i in nearest
        total += sum(2 - 2 * float(prediction[i] @ queue[j]) for j in nearest) / len(nearest)
    before = method.queue.keys.clone()
    output = run(method, sample)
    assert output.loss.item() == pytest.approx(total / len(keys), abs=1e-5)
    assert torch.equal(method.queue.keys, before)
    method.after_batch(output)
    torch.testing.assert_close(method.queue.keys[: len(keys)].double(), keys, atol=1e-6, rtol=0)


def test_msf_without_neighbors_is_byol() -> None:
    flags = "--target one-hot --method.symmetric false --method.momentum-end None --method.views strong weak "
    flags += "--method.projector.norm batch --method.predictor.norm batch"
    msf = tiny("msf", flags)
    byol = Tiny.of(*f"--method byol {flags}".split())
    assert run(msf.method(), msf.sample()).loss.item() == pytest.approx(run(byol.method(), byol.sample()).loss.item())


def test_symmetric_msf_keeps_one_key_of_each_image() -> None:
    msf = tiny("msf", "--method.symmetric true")
    method, sample = msf.method(), msf.sample()
    method.after_batch(run(method, sample))
    assert int(method.queue.cursor) == len(sample.ids)
    torch.testing.assert_close(
        method.queue.keys[: len(sample.ids)].double(), unit(method.teacher(sample.views[1])), atol=1e-5, rtol=0
    )


def test_nnclr_keeps_the_embeddings_of_view_0() -> None:
    nnclr = tiny("nnclr", "--method.symmetric true")
    method, sample = nnclr.method(), nnclr.sample()
    method.after_batch(run(method, sample))
    count = len(sample.ids)
    torch.testing.assert_close(
        method.support_set.keys[:count].double(), unit(method.student(sample.views[0])), atol=1e-5, rtol=0
    )
    assert int(method.support_set.cursor) == count


def test_nnclr_never_finds_the_current_embedding() -> None:
    """The support set is updated after the look-up: in it an embedding would be its own neighbor, at similarity 1."""
    nnclr = tiny("nnclr")
    method, sample = nnclr.method(), nnclr.sample()
    for _ in range(2):
        before = method.support_set.keys.clone()
        output = run(method, sample)
        assert torch.equal(method.support_set.keys, before)
        assert output.logs["neighbor_similarity"] < 0.999
    method.after_batch(output)
    assert run(method, sample).logs["neighbor_similarity"] > 0.9  # the same images again find themselves


def test_nnclr_sends_gradient_through_the_predictions_of_the_whole_batch() -> None:
    method = tiny("nnclr").method()
    neighbors, predictions = F.normalize(torch.randn(2, 8, 64), dim=-1).unbind(0)
    predictions.requires_grad_()
    tables = {}
    method.score = lambda **given: tables.update(given) or (given["student_positive"].sum(), {})
    method.score_in_batch(neighbors, predictions)
    tables["student_candidates"][0].sum().backward()  # of the first anchor alone
    reached = predictions.grad.abs().sum(1) > 0
    assert reached.tolist() == [False, *[True] * 7]


def test_nnclr_takes_soft_targets_from_the_projector() -> None:
    nnclr = tiny("nnclr", "--target adaptive-soft --target.neighbors 3 --method.symmetric false")
    method, sample = nnclr.method(), nnclr.sample()
    tables = {}
    score = method.score
    method.score = lambda **given: tables.update(given) or score(**given)
    run(method, sample)
    z = unit(method.student(sample.views[1]))
    expected = torch.stack([torch.cat([z[i] @ z[:i].T, z[i] @ z[i + 1 :].T]) for i in range(len(z))])
    torch.testing.assert_close(tables["teacher_candidates"].double(), expected, atol=1e-5, rtol=0)
    assert not tables["teacher_candidates"].requires_grad
    assert tables["student_candidates"].requires_grad


def test_bad_settings_are_one_line() -> None:
    with pytest.raises(UserError, match=r"predictor.out = 32: must be projector.out, 64"):
        compose(["--method", "nnclr", "--method.predictor.out", "32"])
    with pytest.raises(UserError, match="queue_size = 0: input should be greater than 0"):
        compose(["--method", "msf", "--method.queue-size", "0"])


def test_snclr_target_sees_its_own_neighbors_alone() -> None:
    snclr = tiny("snclr", "--method.neighbors 3 --target hard --target.neighbors 3")
    method, sample = snclr.method(), snclr.sample()
    seen = []
    loss = method.loss.forward
    method.loss.forward = lambda student, weights: seen.append((student, weights)) or loss(student, weights)
    run(method, sample)
    student, weights = seen[0]
    n = len(sample.ids)
    assert student.shape == weights.shape == (n, n * 4)
    torch.testing.assert_close(weights[:, :4], torch.full((n, 4), 0.25))
    assert (weights[:, 4:] == 0).all()


def test_moco_presets() -> None:
    settings = {name: compose(["--method", name, "--dataset", "imagenet-1k"]) for name in ("moco-v1", "moco-v2")}
    assert settings["moco-v1"].method.projector.layers == 1
    assert settings["moco-v1"].loss.temperature == 0.07
    assert settings["moco-v1"].augmentations.strong.blur == 0
    assert settings["moco-v2"].loss.temperature == 0.2
    assert settings["moco-v2"].augmentations.strong.blur == 0.5
    plus = tiny("moco-v2-plus")
    assert plus.experiment.method.directions == "symmetric"
    flags = "--method.symmetric true --method.direction-reduction mean --method.split-bn 1 --method.shuffle false"
    other = tiny("moco", flags)
    assert torch.equal(run(plus.method(), plus.sample()).loss, run(other.method(), other.sample()).loss)


@pytest.mark.parametrize("name", ["ressl", "co2", "clsa", "msf", "nnclr", "snclr", "all4one"])
def test_half_precision_keeps_similarities_in_float32(name: str) -> None:
    one = tiny(name)
    method, sample = one.method(), one.sample()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(method, sample)
    assert output.loss.dtype == output.keys.dtype == output.embeddings.dtype == torch.float32
    norms = torch.cat([output.keys, output.embeddings]).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-5, rtol=0)
