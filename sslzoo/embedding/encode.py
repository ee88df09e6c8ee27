"""Encode images into the shards of an unfinished embedding."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.batch import Batch
from sslzoo.data.images import Images, Indices
from sslzoo.data.loader import decodable_batches
from sslzoo.data.skipped import Skipped
from sslzoo.embedding.partial import Partial, Shard, ShardWriter
from sslzoo.evaluation.features import encode_batch, evaluation_mode
from sslzoo.evaluation.transform import Transform
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import Steps


class ShardEncoder:
    """Encodes shards of images.

    Args:
        encoder: (B, C, H, W) -> (B, D) or (B, P, D), on the accelerator's device.
        images: all images.
        skipped: collects undecodable images.
        get_name: returns the name of an image in error messages by its id.
        batch_size: images that are encoded at once.
        workers: processes that decode images.
    """

    def __init__(
        self,
        encoder: nn.Module,
        images: Images,
        transform: Transform,
        accelerator: Accelerator,
        *,
        skipped: Skipped,
        get_name: Callable[[int], str],
        batch_size: int,
        workers: int,
    ) -> None:
        self.encoder, self.images, self.transform, self.accelerator = encoder, images, transform, accelerator
        self.skipped, self.get_name, self.batch_size, self.workers = skipped, get_name, batch_size, workers

    def measure_row(self) -> int:
        """Return the size of the features of one image in bytes."""
        size = self.transform.augmentation.size
        assert size is not None
        pixels = torch.zeros(1, self.images.channels, size, size, dtype=getattr(torch, self.images.dtype))
        blank = Batch(pixels, torch.full((1, 2), size), torch.zeros(1, dtype=torch.int64), torch.full((1,), -1))
        with evaluation_mode(self.encoder):
            return 4 * encode_batch(self.encoder, blank, self.transform.create_views, self.accelerator).numel()

    def encode(self, shards: list[Shard], partial: Partial, steps: Steps) -> None:
        """Encode shards in order, each into its file; one batch of features is in memory at a time.

        Raises:
            UserError: a feature is NaN or Inf, or too many images are undecodable.
        """
        chunks = [chunk for shard in shards for chunk in shard.split(self.batch_size)]
        batches = decodable_batches(self.images, chunks, workers=self.workers)
        with evaluation_mode(self.encoder), steps:
            for shard in shards:
                writer = partial.create_writer(shard)
                try:
                    shape: tuple[int, ...] = ()
                    for chunk in shard.split(self.batch_size):
                        decoded = next(batches)
                        kept = np.array([], np.int64) if decoded.batch is None else decoded.batch.ids.numpy()
                        self._record_skipped(writer, chunk, kept, decoded.errors)
                        if decoded.batch is not None:
                            features = encode_batch(
                                self.encoder, decoded.batch, self.transform.create_views, self.accelerator
                            )
                            self._require_finite(features, kept)
                            shape = tuple(features.shape[1:])
                            writer.write(features.numpy())
                        steps.advance(len(chunk) * self.accelerator.num_processes)
                    writer.finish(shape)
                except BaseException:
                    writer.discard()
                    raise

    def _record_skipped(self, writer: ShardWriter, chunk: Indices, kept: Indices, errors: list[str]) -> None:
        """Record the images of a chunk that were not kept; their messages are in the same order."""
        if errors:
            self.skipped.add(errors)
            for number, message in zip(np.setdiff1d(self.images.ids[chunk], kept), errors, strict=True):
                writer.skip(int(number), message)

    def _require_finite(self, features: Tensor, ids: Indices) -> None:
        invalid = (~torch.isfinite(features.flatten(1))).any(dim=1).nonzero().flatten().tolist()
        if invalid:
            raise UserError(
                f"{self.get_name(int(ids[invalid[0]]))}: its features contain NaN or Inf; --precision fp32 avoids an "
                "overflow, otherwise the weights are damaged"
            )
