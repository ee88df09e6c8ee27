"""All4One: its state, its special case NNCLR, and its errors."""

import pytest
import torch
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError

FLAGS = "--method all4one --method.queue-size 40 --method.neighbors 3 --loss.temperature 0.2"


def test_support_set_keeps_the_momentum_keys_of_view_0() -> None:
    tiny = Tiny.of(*FLAGS.split())
    method, sample = tiny.method(), tiny.sample()
    method.after_batch(run(method, sample))
    keys = F.normalize(method.teacher(sample.views[0]))
    torch.testing.assert_close(method.support_set.keys[: len(keys)], keys, atol=1e-5, rtol=0)


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
