"""The trivial loss of a method equals the loss that it computes if all embeddings are equal."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.method.base import METHODS
from sslzoo.method.pair import PairMethod
from sslzoo.method.prototypes import PrototypeMethod
from sslzoo.modules.queue import Queue

UNKNOWN = {"all4one", "deepcluster-v2", "emp-ssl", "snclr", "w-mse"}
"""Methods whose trivial loss is unknown."""


class Constant(nn.Module):
    """A head with the same output for all images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, features: Tensor) -> Tensor:
        return 0 * features.sum(dim=1, keepdim=True) + self.output


@pytest.mark.parametrize(
    "flags", ["", "--method.symmetric true", "--method.symmetric true --method.direction-reduction sum"]
)
@pytest.mark.parametrize("name", METHODS.names())
def test_trivial_loss_is_that_of_equal_embeddings(name: str, flags: str) -> None:
    if flags and not issubclass(METHODS.get(name), PairMethod):
        pytest.skip("compares no pairs")
    tiny = Tiny.of("--method", name, *flags.split())
    method, sample = tiny.method(), tiny.sample()
    width = method.config.projector.out
    for module in list(method.modules()):
        for child in ("projector", "predictor"):
            if hasattr(module, child):
                setattr(module, child, Constant(width))
        if isinstance(module, Queue):
            module.keys.copy_(F.normalize(torch.ones_like(module.keys), dim=1))
        if isinstance(module, PrototypeMethod):
            module.prototypes.weight.data.fill_(1)
            if hasattr(module, "teacher"):
                module.teacher.update(nn.Sequential(module.student, module.prototypes), 0.0)
                module.teacher.model.load_state_dict(nn.Sequential(module.student, module.prototypes).state_dict())
    for _ in range(200 if name == "tico" else 1):
        output = run(method, sample)
        method.after_batch(output)
        if name == "tico":
            method.after_step(0.0)
    loss = float(run(method, sample).loss.detach())
    if name in UNKNOWN:
        assert method.trivial_loss() is None
    else:
        assert method.trivial_loss() == pytest.approx(loss, rel=1e-5, abs=1e-5)


def test_trivial_loss_of_pairs_is_unknown_before_the_first_pass() -> None:
    assert Tiny.of("--method", "moco").method().trivial_loss() is None
