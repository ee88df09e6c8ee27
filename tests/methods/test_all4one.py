"""All4One, term by term, against restatements in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError

FLAGS = "--method all4one --method.queue-size 40 --method.neighbors 3 --loss.temperature 0.2"


def unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.detach().double(), dim=-1)


def infonce(anchors: Tensor, positives: Tensor, temperature: float) -> float:
    """Mean over anchors, row by row."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        scores = [math.exp(float(anchor @ positive) / temperature) for positive in positives]
        total -= math.log(scores[i] / sum(scores)) / len(anchors)
    return total


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("symmetric", [False, True])
def test_terms_restated(symmetric: bool) -> None:
    tiny = Tiny.of(*f"{FLAGS} --method.symmetric {str(symmetric).lower()}".split())
    method, sample = tiny.method(), tiny.sample()
    queue = method.support_set.keys.double()
    z = [method.student(view).detach() for view in sample.views]
    k = [unit(method.teacher(view)) for view in sample.views]
    p = [unit(method.predictor(embedding)) for embedding in z]
    front = [method.centroid_predictor(embedding).detach() for embedding in z]
    nearest = [
        torch.stack([torch.stack(sorted(queue, key=lambda r: -float(r @ key))[:3]) for key in view]) for view in k
    ]
    positions = torch.tensor(
        [
            [math.sin(place / 10000 ** (i / 64)) for i in range(0, 64, 2)]
            + [math.cos(place / 10000 ** (i / 64)) for i in range(0, 64, 2)]
            for place in range(3)
        ]
    )
    pairs = [(0, 1), (1, 0)][: 1 + symmetric]
    neighbor = centroid = on = off = 0.0
    for a, b in pairs:
        neighbor += infonce(nearest[a][:, 0], p[b], 0.2) / len(pairs)
        shifted = torch.cat([front[b][:, None], nearest[b][:, :2].float()], dim=1)
        rich, strange = (
            unit(method.transformer(sequence + positions)[:, 0]) for sequence in (nearest[a].float(), shifted)
        )
        centroid += infonce(rich, strange, 0.1) / len(pairs)
        width = z[b].shape[1]
        for i in range(width):
            for j in range(width):
                c = cosine(k[a][:, i].tolist(), z[b][:, j].tolist())
                if i == j:
                    on += (c - 1) ** 2 / width / len(pairs)
                else:
                    off += c**2 / (width * (width - 1)) / len(pairs)
    feature = (math.sqrt(on) + math.sqrt(off)) / 2
    output = run(method, sample)
    for name, expected in (("neighbor_loss", neighbor), ("centroid_loss", centroid), ("feature_loss", feature)):
        assert output.logs[name].item() == pytest.approx(expected, abs=1e-4), name
    assert output.loss.item() == pytest.approx(0.5 * neighbor + 0.5 * centroid + 5 * feature, abs=1e-3)
    method.after_batch(output)
    torch.testing.assert_close(method.support_set.keys[: len(k[0])].double(), k[0], atol=1e-5, rtol=0)


def test_without_its_own_terms_it_is_nnclr_with_momentum_keys() -> None:
    tiny = Tiny.of(*f"{FLAGS} --method.centroid-weight 0 --method.feature-weight 0 --method.neighbor-weight 1".split())
    nnclr = Tiny.of(*["--method", "nnclr", "--method.queue-size", "40", "--loss.temperature", "0.2"])
    ours, theirs = tiny.method(), nnclr.method()
    ours.support_set.keys.copy_(theirs.support_set.keys)
    for name in ("student", "predictor"):
        getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
    ours.teacher.model.load_state_dict(theirs.student.state_dict())
    sample = tiny.sample()
    assert run(ours, sample).loss.item() == pytest.approx(run(theirs, sample).loss.item(), abs=1e-6)


def test_monitor_sees_the_student() -> None:
    tiny = Tiny.of(*FLAGS.split())
    method, sample = tiny.method(), tiny.sample()
    expected = torch.cat([F.normalize(method.student(view).detach()) for view in sample.views])
    torch.testing.assert_close(run(method, sample).embeddings, expected)


def test_bad_settings_are_one_line() -> None:
    with pytest.raises(UserError, match=r"projector.out = 64: must be even, and a multiple of attention_heads, 6"):
        compose(["--method", "all4one", "--method.attention-heads", "6"])
    with pytest.raises(UserError, match="neighbors = 1: input should be greater than or equal to 2"):
        compose(["--method", "all4one", "--method.neighbors", "1"])
