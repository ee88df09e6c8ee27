"""A forward and backward pass that a CUDA graph replays, which spares the host some thousand launches a step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslzoo.method.base import MethodOutput

WARM_UP = 3
"""Passes that run as they are before one is recorded: libraries choose kernels and allocate workspaces in them."""


class Inputs(NamedTuple):
    """What a pass takes."""

    views: list[Tensor]
    """(B, C, size, size) each."""
    ids: Tensor
    """(B,) int64."""
    labels: Tensor
    """(B,) int64."""

    @property
    def tensors(self) -> list[Tensor]:
        """All of them in a row."""
        return [*self.views, self.ids, self.labels]

    @property
    def layout(self) -> list[tuple[torch.Size, tuple[int, ...], torch.dtype]]:
        """What has to be equal for a recorded pass to serve these inputs."""
        return [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in self.tensors]


class Result(NamedTuple):
    """What a pass leaves, beside the gradients."""

    output: MethodOutput
    """Without gradient."""
    finite: Tensor
    """Flags of `FiniteCheck`."""


Pass = Callable[[Inputs], Result]


class CapturedPass:
    """Runs a pass as it is for `WARM_UP` times, then records it once and replays it; inputs of another layout run as
    they are.

    The result and the gradients are those of the pass itself, in memory that the next replay overwrites. All passes run
    on one stream of their own, which the current stream waits for.

    Args:
        parameters: whose gradients the pass computes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = 0

    def __call__(self, compute: Pass, inputs: Inputs) -> Result:
        """Run the pass, its gradients in the place of earlier ones.

        Args:
            compute: the pass, always the same one; reads no number from the device, and finds no gradients.
        """
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._run(compute, inputs)
        current.wait_stream(self._stream)
        return result

    def _run(self, compute: Pass, inputs: Inputs) -> Result:
        for parameter in self.parameters:
            parameter.grad = None
        if self._warm < WARM_UP:
            self._warm += 1
            return compute(inputs)
        if self._graph is None:
            self._record(compute, inputs)
        elif inputs.layout != self._inputs.layout:
            return compute(inputs)
        assert self._graph is not None
        torch._foreach_copy_(self._inputs.tensors, inputs.tensors)
        self._graph.replay()
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result

    def _record(self, compute: Pass, inputs: Inputs) -> None:
        self._inputs = Inputs([view.clone() for view in inputs.views], inputs.ids.clone(), inputs.labels.clone())
        self._graph = torch.cuda.CUDAGraph()
        # threads that load images may pin memory meanwhile
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._result = compute(self._inputs)
        self._gradients = [parameter.grad for parameter in self.parameters]
