"""Gradient caching: accumulate a large batch in chunks without losing negatives.

Gao et al., RepL4NLP 2021, arXiv 2101.06983, section 3. The loss over the whole batch depends on the encoder only
through the embeddings. All chunks are first encoded without a graph, and the gradient of the loss by their embeddings
is computed. Then each chunk is encoded again, and that gradient is propagated through the encoder. Augmentation
parameters are functions of a counter, so both encodings see the same views.
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
    create_views: Callable[[Batch], list[Tensor]],
    after_backward: Callable[[MethodOutput], None],
) -> MethodOutput:
    """Run the forward and backward passes of a batch in chunks; the gradient is that of the whole batch.

    It is exact if the embedding of an image does not depend on its chunk; batch norm normalizes each chunk separately.

    Args:
        model: the method as prepared by the accelerator.
        create_views: creates the views of a chunk.
        after_backward: called with the output of the whole batch after each chunk's backward pass, within
            `accelerator.accumulate`.

    Returns:
        The output of the whole batch.
    """
    embed = accelerator.autocast()(method.embed)
    with torch.no_grad(), preserve_norm_statistics(method):
        embeddings = torch.cat([embed(create_views(chunk)) for chunk in chunks]).requires_grad_()
    labels = torch.cat([chunk.labels for chunk in chunks])
    with accelerator.autocast():
        output = method.contrast(embeddings, labels)
    (gradient,) = torch.autograd.grad(output.loss, embeddings)
    output = output._replace(loss=output.loss.detach())
    for chunk, part in zip(chunks, gradient.chunk(len(chunks)), strict=True):
        with accelerator.accumulate(model):
            loss = model(create_views(chunk), chunk.ids, gradient=part).loss
            accelerator.backward(loss * len(chunks))  # accelerate divides by the number of chunks
            after_backward(output)
    return output


@contextmanager
def preserve_norm_statistics(model: nn.Module) -> Iterator[None]:
    """Restore the running statistics of batch norm on exit."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    buffers = [buffer for norm in norms for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in buffers]
    yield
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)
