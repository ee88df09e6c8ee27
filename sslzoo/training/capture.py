"""Capture a forward and backward pass in a CUDA graph; a replay saves about a thousand kernel launches per step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslzoo.method.base import MethodOutput

WARMUP_PASSES = 3
"""Passes before the capture, during which libraries choose kernels and allocate workspaces."""


class PassInputs(NamedTuple):
    """Inputs of a forward and backward pass."""

    views: list[Tensor]
    """(B, C, size, size) each."""
    ids: Tensor
    """(B,) int64."""
    labels: Tensor
    """(B,) int64."""

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors in a fixed order."""
        return [*self.views, self.ids, self.labels]

    @property
    def layout(self) -> list[tuple[torch.Size, tuple[int, ...], torch.dtype]]:
        """Shape, stride and dtype of each tensor; a graph replays only inputs with the captured layout."""
        return [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in self.tensors]


class PassResult(NamedTuple):
    """Result of a forward and backward pass, besides the gradients."""

    output: MethodOutput
    """Without gradient."""
    finite_flags: Tensor
    """Result of `FiniteCheck.compute_flags`."""


Pass = Callable[[PassInputs], PassResult]


class CapturedPass:
    """Runs a pass `WARMUP_PASSES` times, then captures it in a CUDA graph and replays the graph.

    Inputs with another layout run without the graph. Results and gradients equal those of the pass; they are stored in
    memory that the next replay overwrites. All passes run on one side stream, which the current stream waits for.

    Args:
        parameters: parameters whose gradients the pass computes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._passes = 0

    def __call__(self, compute: Pass, inputs: PassInputs) -> PassResult:
        """Run the pass; its gradients replace earlier ones.

        Args:
            compute: the pass, the same one in every call. It must not read values from the device, and no parameter has
                a gradient when it starts.
        """
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._run(compute, inputs)
        current.wait_stream(self._stream)
        return result

    def _run(self, compute: Pass, inputs: PassInputs) -> PassResult:
        for parameter in self.parameters:
            parameter.grad = None
        if self._passes < WARMUP_PASSES:
            self._passes += 1
            return compute(inputs)
        if self._graph is None:
            self._capture(compute, inputs)
        elif inputs.layout != self._inputs.layout:
            return compute(inputs)
        assert self._graph is not None
        torch._foreach_copy_(self._inputs.tensors, inputs.tensors)
        self._graph.replay()
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result

    def _capture(self, compute: Pass, inputs: PassInputs) -> None:
        self._inputs = PassInputs([view.clone() for view in inputs.views], inputs.ids.clone(), inputs.labels.clone())
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: threads that load images may pin memory during the capture
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._result = compute(self._inputs)
        self._gradients = [parameter.grad for parameter in self.parameters]
