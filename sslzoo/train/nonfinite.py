"""Training stops on the first NaN or Inf, before it reaches the optimizer, queue or teacher."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from sslzoo.method.base import MethodOutput
from sslzoo.runtime.errors import join_names

SMALLEST_SCALE = 2**-10
"""A scaler that goes below it has met overflow at every step for long: it starts at 2^16 and halves at each."""


class NonFiniteError(ArithmeticError):
    """Something is NaN or infinite; the message says what, and at which step."""


class _Flags(NamedTuple):
    step: int
    finite: Tensor
    """() bool a name, on the host; on its way there until `ready`."""
    ready: torch.cuda.Event | None


class FiniteCheck:
    """Looks at each forward and backward pass of a model.

    On a CPU it raises before any state is updated. A GPU is not waited for: the answer is read
    one pass later, so nothing may be saved before `raise_pending`.
    """

    NAMES = ("the loss", "the student's embeddings", "the keys", "the gradient")

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._pending: _Flags | None = None

    def flags(self, output: MethodOutput, *, gradients: bool) -> Tensor:
        """Which of `NAMES` are finite after a pass, bool on the device.

        Args:
            gradients: whether those of the parameters have to be finite; a scaler (fp16) skips steps where they are
                not.
        """
        keys = output.loss if output.keys is None else output.keys
        finite = [part.isfinite().all() for part in (output.loss, output.embeddings, keys)]
        if gradients:
            finite.append(get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None]).isfinite())
        return torch.stack(finite)

    def look(self, step: int, finite: Tensor) -> None:
        """Look at the flags of a pass.

        Args:
            step: number of the optimizer step that the pass belongs to.

        Raises:
            NonFiniteError: this pass, or the one before it, has a number that is not.
        """
        flags = _to_host(step, finite)
        before, self._pending = self._pending, flags
        if before is not None:
            self._require(before)
        if flags.ready is None:
            self.raise_pending()

    def raise_pending(self) -> None:
        """Wait for the answer of the last checked pass.

        Raises:
            NonFiniteError: it has NaN or Inf.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            self._require(pending)

    def _require(self, flags: _Flags) -> None:
        if flags.ready is not None:
            flags.ready.synchronize()
        finite = flags.finite.tolist()
        if all(finite):
            return
        what = self.NAMES[finite.index(False)]
        if what == "the gradient":
            gradients = ((name, p.grad) for name, p in self.model.named_parameters())
            what = f"the gradient of {join_names(_not_finite(gradients))}"
        raise NonFiniteError(f"step {flags.step}: {what} is NaN or Inf")


def require_finite_state(model: nn.Module, step: int) -> None:
    """Check all weights, and the state of teacher and queue.

    Raises:
        NonFiniteError: a number is not.
    """
    state = model.state_dict()
    norm = get_total_norm([value for value in state.values() if value.is_floating_point()])
    if not math.isfinite(norm) and (names := _not_finite(state.items())):
        raise NonFiniteError(f"step {step}: {join_names(names)} has NaN or Inf")


def require_scale(scaler: torch.amp.GradScaler, step: int) -> None:
    """Whether a scaler still finds a scale at which gradients do not overflow.

    Raises:
        NonFiniteError: it has lowered the scale so far that none is left.
    """
    if scaler.get_scale() < SMALLEST_SCALE:
        raise NonFiniteError(f"step {step}: the gradient overflows in fp16 at every scale of the loss")


def _not_finite(tensors: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    return [name for name, tensor in tensors if tensor is not None and not tensor.isfinite().all()]


def _to_host(step: int, finite: Tensor) -> _Flags:
    if finite.device.type != "cuda":
        return _Flags(step, finite, None)
    on_host = torch.empty(finite.shape, dtype=finite.dtype, pin_memory=True).copy_(finite, non_blocking=True)
    ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
    ready.record()
    return _Flags(step, on_host, ready)
