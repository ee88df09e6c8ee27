"""Methods that learn relations to older keys, against restatements in float64."""

import pytest
import torch
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.compose import compose
from sslzoo.errors import UserError
from sslzoo.method import METHODS

ONE_GROUP = "--method.split-bn 1 --method.shuffle false"


@pytest.mark.parametrize(("name", "teacher_t"), [("ressl", 0.04), ("isd", 0.01)])
def test_relational_methods_restated(name: str, teacher_t: float) -> None:
    tiny = Tiny.of(*f"--method {name} {ONE_GROUP} --target.temperature {teacher_t}".split())
    method, sample = tiny.method(), tiny.sample()
    bank = method.bank.keys.double()
    query = method.student(sample.views[0])
    if name == "isd":
        query = method.predictor(query)
    q, k = F.normalize(query.double()), F.normalize(method.teacher(sample.views[1]).double())
    prediction, target = (q @ bank.T / 0.1).log_softmax(1), (k @ bank.T / teacher_t).softmax(1)
    expected = sum(-(target[i] * prediction[i]).sum().item() for i in range(len(q))) / len(q)
    output = run(method, sample)
    assert output.loss.item() == pytest.approx(expected, abs=1e-4)
    assert torch.equal(method.bank.keys.double(), bank)  # nothing enters before the loss is back-propagated
    method.after_batch(output)
    torch.testing.assert_close(method.bank.keys[: len(k)].double(), k, atol=1e-5, rtol=0)


def test_sce_is_moco_with_its_target() -> None:
    settings = "--target sce --target.positive-weight 0.3 --target.temperature 0.1"
    losses = [
        run(tiny.method(), tiny.sample()).loss
        for tiny in (Tiny.of(*f"--method {name} {settings}".split()) for name in ("sce", "moco"))
    ]
    assert torch.equal(*losses)


def test_views_are_strong_and_weak() -> None:
    for name in ("ressl", "isd", "sce"):
        assert METHODS.get(name).Config().views == ("strong", "weak")


def test_predictor_as_wide_as_the_projector() -> None:
    with pytest.raises(UserError, match=r"predictor.out = 32: must be projector.out, 64"):
        compose(["--method", "isd", "--method.predictor.out", "32"])
