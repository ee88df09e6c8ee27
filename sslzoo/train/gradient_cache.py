"""A large batch in chunks that keeps all its negatives (Gao et al., RepL4NLP 2021, arXiv 2101.06983, section 3).

The gradient of a loss over the whole batch goes through the embeddings alone: it is computed for embeddings that were
made chunk by chunk without a graph, then each chunk is encoded again and the gradient goes back through it. Views are
functions of a counter, so both encodings see the same images.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.batch import Batch
from sslzoo.method.base import MethodOutput
from sslzoo.method.in_batch import InBatchMethod


def accumulate_with_all_negatives(
    accelerator: Accelerator,
    model: nn.Module,
    method: InBatchMethod,
    chunks: Sequence[Batch],
    views: Callable[[Batch], list[Tensor]],
    finish: Callable[[MethodOutput], None],
) -> MethodOutput:
    """Forward and backward of a batch in chunks, with the gradient of the undivided one.

    Exactly so where an image's embedding does not depend on its chunk; batch norm sees the chunks one by one.

    Args:
        model: the method as the accelerator prepared it.
        views: makes the views of a chunk.
        finish: called with the output of the whole batch after each chunk's backward pass, within
            `accelerator.accumulate`.

    Returns:
        The output of the whole batch.
    """
    embed = accelerator.autocast()(method.embed)
    with torch.no_grad(), keep_statistics(method):
        embeddings = torch.cat([embed(views(chunk)) for chunk in chunks]).requires_grad_()
    labels = torch.cat([chunk.labels for chunk in chunks])
    with accelerator.autocast():
        output = method.contrast(embeddings, labels)
    (gradient,) = torch.autograd.grad(output.loss, embeddings)
    output = output._replace(loss=output.loss.detach())
    for chunk, part in zip(chunks, gradient.chunk(len(chunks)), strict=True):
        with accelerator.accumulate(model):
            through = model(views(chunk), chunk.ids, gradient=part).loss
            accelerator.backward(through * len(chunks))  # which divides by their number
            finish(output)
    return output


@contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Running statistics of batch norm are afterwards what they were before."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    buffers = [buffer for norm in norms for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in buffers]
    yield
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)
