"""Features kept on disk, so that an encoder runs over a data set once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.images import Images, digest
from sslzoo.evaluate.features import encode
from sslzoo.evaluate.transform import Transform
from sslzoo.runtime.distributed import state_digest
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.runtime.progress import Steps

FORMAT = 1
"""Raised whenever the same encoder, images and transform would give other features."""


class FeatureStore:
    """Features of an encoder by data set and transform, as .npy files that are mapped into memory.

    Args:
        root: the folder.
        encoder: (B, C, H, W) -> (B, D), on the accelerator's device.
        made_of: what the encoder is besides its weights: the model's name, its arguments, the arithmetic.
        batch_size: images that a process encodes at once.
        workers: processes that decode images which are not kept decoded.
    """

    def __init__(
        self,
        root: Path,
        encoder: nn.Module,
        made_of: dict[str, Any],
        accelerator: Accelerator,
        *,
        batch_size: int,
        workers: int,
    ) -> None:
        self.root, self.encoder, self.accelerator = root, encoder, accelerator
        self.batch_size, self.workers = batch_size, workers
        self._made_of = made_of | {"weights": state_digest(encoder), "torch": torch.__version__, "format": FORMAT}

    def file(self, images: Images, transform: Transform) -> Path:
        """Where the features of these images are, or would be."""
        what = self._made_of | {
            "images": images.fingerprint,
            "transform": [transform.augmentation.model_dump(), transform.mean, transform.std],
        }
        return self.root / f"{digest(json.dumps(what, sort_keys=True))}.npy"

    def features(self, images: Images, transform: Transform, steps: Steps) -> Tensor:
        """Features (N, D) float32 in the order of the images, mapped into memory; called by all processes.

        What is not there yet is made: each process encodes a part of the images and writes it in its place, batch
        by batch. What is half-written never has the final name.

        Raises:
            UserError: an image cannot be decoded, or the folder cannot be written.
        """
        file = self.file(images, transform)
        try:
            if not run_on_main_process(self.accelerator, file.is_file):
                self._make(file, images, transform, steps)
            return torch.from_numpy(np.load(file, mmap_mode="c"))
        except OSError as error:
            raise UserError(
                f"--dataset.cache-dir {self.root}: {error.strerror or error}; name another folder for features"
            ) from error

    def _make(self, file: Path, images: Images, transform: Transform, steps: Steps) -> None:
        partial = file.with_name(f"{file.stem}.{run_on_main_process(self.accelerator, os.getpid)}.partial")
        accelerator, main = self.accelerator, self.accelerator.is_main_process
        mine = images.share(accelerator.process_index, accelerator.num_processes)
        try:
            if main:
                self.root.mkdir(parents=True, exist_ok=True)
                width = next(self._encoded(images.subset(np.arange(1)), transform)).shape[1]
                np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(len(images), width)).flush()
            accelerator.wait_for_everyone()
            target = np.lib.format.open_memmap(partial, mode="r+")
            world = accelerator.num_processes
            place = sum(len(images.share(rank, world)) for rank in range(accelerator.process_index))
            with steps:
                for features in self._encoded(mine, transform):
                    target[place : place + len(features)] = features.numpy()
                    place += len(features)
                    steps.advance(len(features) * accelerator.num_processes)
            target.flush()
            accelerator.wait_for_everyone()
            if main:
                partial.replace(file)
            accelerator.wait_for_everyone()
        finally:
            if main:
                partial.unlink(missing_ok=True)

    def _encoded(self, images: Images, transform: Transform) -> Iterator[Tensor]:
        return encode(
            self.encoder, images, transform, self.accelerator, batch_size=self.batch_size, workers=self.workers
        )
