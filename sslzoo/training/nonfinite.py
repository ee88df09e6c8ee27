"""Stop training on the first NaN or Inf, before it reaches the optimizer, queue or teacher."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from sslzoo.method.base import MethodOutput
from sslzoo.runtime.errors import join_names

MIN_LOSS_SCALE = 2**-10
"""The loss scale starts at 2^16 and is halved at each overflow, so a smaller one means that every step overflows."""


class NonFiniteError(ArithmeticError):
    """A tensor contains NaN or Inf; the message names the tensor and the step."""


class _Flags(NamedTuple):
    step: int
    finite: Tensor
    """(names,) bool on the host; complete once `ready` has occurred."""
    ready: torch.cuda.Event | None


class FiniteCheck:
    """Checks the result of each forward and backward pass of a model for NaN and Inf.

    On a CPU it raises before any state is updated. On a GPU it does not wait for the device: flags are read one pass
    later, so `raise_pending` must be called before anything is saved.
    """

    NAMES = ("the loss", "the student's embeddings", "the keys", "the gradient")

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.gradient_norm: Tensor | None = None
        """() norm of the gradients of the last pass, on the device; None if a gradient scaler has scaled them."""
        self._pending: _Flags | None = None

    def compute_flags(self, output: MethodOutput, *, gradients: bool) -> Tensor:
        """Compute which of `NAMES` are finite after a pass: bool on the device.

        Args:
            gradients: whether to include the gradients of the parameters. A gradient scaler (fp16) checks them itself
                and skips steps in which they overflow.
        """
        keys = output.loss if output.keys is None else output.keys
        finite = [part.isfinite().all() for part in (output.loss, output.embeddings, keys)]
        if gradients:
            self.gradient_norm = get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
            finite.append(self.gradient_norm.isfinite())
        return torch.stack(finite)

    def check(self, step: int, flags: Tensor) -> None:
        """Check the flags of a pass.

        Args:
            step: number of the optimizer step that the pass belongs to.
            flags: result of `compute_flags`.

        Raises:
            NonFiniteError: this pass, or the one before it, produced NaN or Inf.
        """
        current = _copy_to_host(step, flags)
        previous, self._pending = self._pending, current
        if previous is not None:
            self._raise_unless_finite(previous)
        if current.ready is None:
            self.raise_pending()

    def raise_pending(self) -> None:
        """Wait for the flags of the last pass.

        Raises:
            NonFiniteError: the pass produced NaN or Inf.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            self._raise_unless_finite(pending)

    def _raise_unless_finite(self, flags: _Flags) -> None:
        if flags.ready is not None:
            flags.ready.synchronize()
        finite = flags.finite.tolist()
        if all(finite):
            return
        tensor = self.NAMES[finite.index(False)]
        if tensor == "the gradient":
            gradients = ((name, p.grad) for name, p in self.model.named_parameters())
            tensor = f"the gradient of {join_names(_find_nonfinite(gradients))}"
        raise NonFiniteError(f"step {flags.step}: {tensor} is NaN or Inf")


def require_finite_state(model: nn.Module, step: int) -> None:
    """Check all parameters and buffers: weights, teacher, queue and other state.

    Raises:
        NonFiniteError: a tensor contains NaN or Inf.
    """
    state = model.state_dict()
    norm = get_total_norm([value for value in state.values() if value.is_floating_point()])
    if not math.isfinite(norm) and (names := _find_nonfinite(state.items())):
        raise NonFiniteError(f"step {step}: {join_names(names)} has NaN or Inf")


def require_loss_scale(scaler: torch.amp.GradScaler, step: int) -> None:
    """Check that the gradient scaler has found a scale at which the gradients do not overflow.

    Raises:
        NonFiniteError: the scale is below `MIN_LOSS_SCALE`.
    """
    if scaler.get_scale() < MIN_LOSS_SCALE:
        raise NonFiniteError(f"step {step}: the gradient overflows in fp16 at every scale of the loss")


def _find_nonfinite(tensors: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    return [name for name, tensor in tensors if tensor is not None and not tensor.isfinite().all()]


def _copy_to_host(step: int, flags: Tensor) -> _Flags:
    if flags.device.type != "cuda":
        return _Flags(step, flags, None)
    on_host = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True).copy_(flags, non_blocking=True)
    ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
    ready.record()
    return _Flags(step, on_host, ready)
