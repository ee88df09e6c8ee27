"""What a restatement of a loss is made of: encoders of a method in float64, and the batch that they encode."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Sample, Tiny, run
from sslzoo.method.base import METHODS, Method

TEACHER_NOISE = 0.1
"""Standard deviation of the noise that makes student and teacher differ."""


@dataclass(frozen=True)
class Parts:
    """A copy of a method in float64 in evaluation mode, where an embedding does not depend on the rest of the batch."""

    method: Method
    sample: Sample

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Views that are query and key."""
        return [(0, 1), (1, 0)][: 1 + self.method.config.symmetric]

    @property
    def queue(self) -> Tensor:
        """(N, D) older keys."""
        keys: Tensor = self.method.queue.keys
        return keys

    def embedding(self, view: int) -> Tensor:
        """(B, D) of the student, not normalized, with gradient."""
        return self.method.student(self.sample.views[view].double())

    def student(self, view: int) -> Tensor:
        """(B, D) unit embeddings of the student, with gradient."""
        return F.normalize(self.embedding(view))

    def teacher(self, view: int) -> Tensor:
        """(B, D) unit embeddings of the momentum encoder, without gradient."""
        return F.normalize(self.method.teacher(self.sample.views[view].double())).detach()

    def prediction(self, view: int) -> Tensor:
        """(B, D) unit predictions, with gradient."""
        return F.normalize(self.method.predictor(self.embedding(view)))


Restatement = Callable[[Parts], Tensor]
"""The loss () of a source, in float64 with gradient."""


@dataclass(frozen=True)
class Agreement:
    """A restatement of a method's loss and the flags that it holds for."""

    restate: Restatement
    flags: tuple[str, ...]
    rtol: float


AGREEMENTS: dict[str, Agreement] = {}
"""By name of the method; filled by `restates`."""


def restates(*methods: str, flags: str = "", rtol: float = 1e-4) -> Callable[[Restatement], Restatement]:
    """Register a restatement of the losses of methods, with flags after `--method NAME`.

    Args:
        rtol: relative tolerance of gradients.
    """

    def register(restate: Restatement) -> Restatement:
        assert restate.__doc__
        AGREEMENTS.update({method: Agreement(restate, tuple(flags.split()), rtol) for method in methods})
        return restate

    return register


def prepare(name: str, *flags: str) -> tuple[Method, Sample]:
    """Create a method whose teacher, queue and other state have seen a batch, and another batch."""
    tiny = Tiny.of("--method", name, *flags)
    method = tiny.method().eval()
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.add_(TEACHER_NOISE * noise)
    method.before_epoch(0)
    method.after_batch(run(method, tiny.sample(seed=1)))
    method.after_step(0.0)
    method.before_epoch(1)
    return method, tiny.sample()


def assert_agreement(name: str, *flags: str) -> None:
    """Check that the loss of a method and its gradient are those of its restatement."""
    agreement = AGREEMENTS[name]
    method, sample = prepare(name, *agreement.flags, *flags)
    exact = copy.deepcopy(method).double()
    expected = agreement.restate(Parts(exact, sample))
    assert expected.dtype == torch.float64
    expected.backward()
    loss = run(method, sample).loss
    loss.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    ours = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    theirs = {key: p.grad for key, p in exact.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    for key, gradient in theirs.items():
        atol = agreement.rtol * gradient.abs().max().item() + 1e-6  # float32 leaves some noise where the gradient is 0
        torch.testing.assert_close(ours[key].double(), gradient, rtol=agreement.rtol, atol=atol)


def has_directions(name: str) -> bool:
    """Whether a method can be symmetric or one-directional."""
    return "symmetric" in METHODS.get(name).Config.model_fields
