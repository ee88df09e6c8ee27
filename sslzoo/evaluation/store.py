"""Cache of features on disk, so that an encoder runs over a data set once."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.images import Images, digest
from sslzoo.evaluation.features import encode_images, require_finite_features
from sslzoo.evaluation.transform import Transform
from sslzoo.runtime.distributed import state_digest
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import file_sha256, read_json, replace, write_json
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.runtime.progress import Steps

FORMAT = 1
"""Version of the cached features; increase it when the code computes other features from the same inputs."""


class FeatureStore:
    """Features of an encoder by images and transform, as memory-mapped .npy files.

    Beside each one is a .json file with its SHA-256, which is checked when features are loaded.

    Args:
        root: folder of the files.
        encoder: (B, C, H, W) -> (B, D), on the accelerator's device.
        identity: what defines the encoder besides its weights: name and arguments of the model, and precision.
        batch_size: images that a process encodes at once.
        workers: processes that decode images that are not stored decoded.
    """

    def __init__(
        self,
        root: Path,
        encoder: nn.Module,
        identity: dict[str, Any],
        accelerator: Accelerator,
        *,
        batch_size: int,
        workers: int,
    ) -> None:
        self.root, self.encoder, self.accelerator = root, encoder, accelerator
        self.batch_size, self.workers = batch_size, workers
        self._identity = identity | {"weights": state_digest(encoder), "torch": torch.__version__, "format": FORMAT}

    def locate(self, images: Images, transform: Transform) -> Path:
        """Return the path of the features of these images, whether or not the file exists."""
        key = self._identity | {
            "images": images.fingerprint,
            "transform": [transform.augmentation.model_dump(), transform.mean, transform.std, *transform.own_range],
        }
        if transform.crops is not None:
            key["crops"] = [transform.crops.count, transform.crops.augmentation.model_dump(), transform.crops.seed]
        return self.root / f"{digest(json.dumps(key, sort_keys=True))}.npy"

    def has_features(self, images: Images, transform: Transform) -> bool:
        """Whether the features of these images are stored and undamaged."""
        file = self.locate(images, transform)
        try:
            return bool(read_json(file.with_suffix(".json"))["sha256"] == file_sha256(file))
        except (OSError, KeyError, UserError):
            return False

    def load_features(
        self, images: Images, transform: Transform, steps: Steps, report: Callable[[str], None] = lambda _: None
    ) -> Tensor:
        """Load features (N, D) float32 in the order of the images, memory-mapped; called by all processes.

        Missing or damaged features are extracted: each process encodes a part of the images and writes it batch by
        batch. The file gets its final name once it is complete.

        Args:
            report: called with whether the features are extracted or loaded from the cache.

        Raises:
            UserError: an image cannot be decoded, features are NaN or Inf, or the folder cannot be written.
        """
        file = self.locate(images, transform)
        try:
            cached = run_on_main_process(self.accelerator, lambda: self.has_features(images, transform))
            report("loaded from the cache" if cached else "extracting")
            if not cached:
                self._extract(file, images, transform, steps)
            return torch.from_numpy(np.load(file, mmap_mode="c"))
        except OSError as error:
            raise UserError(
                f"--dataset.cache-dir {self.root}: {error.strerror or error}; name another folder for features"
            ) from error

    def _extract(self, file: Path, images: Images, transform: Transform, steps: Steps) -> None:
        partial = file.with_name(f"{file.stem}.{run_on_main_process(self.accelerator, os.getpid)}.partial")
        accelerator, main = self.accelerator, self.accelerator.is_main_process
        share = images.share(accelerator.process_index, accelerator.num_processes)
        try:
            if main:
                self.root.mkdir(parents=True, exist_ok=True)
                width = next(self._encode(images.subset(np.arange(1)), transform)).shape[1]
                np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(len(images), width)).flush()
            accelerator.wait_for_everyone()
            target = np.lib.format.open_memmap(partial, mode="r+")
            world = accelerator.num_processes
            row = sum(len(images.share(rank, world)) for rank in range(accelerator.process_index))
            with steps:
                for features in self._encode(share, transform):
                    require_finite_features(features)
                    target[row : row + len(features)] = features.numpy()
                    row += len(features)
                    steps.advance(len(features) * accelerator.num_processes)
            target.flush()
            accelerator.wait_for_everyone()
            if main:
                replace(partial, file)
                write_json(file.with_suffix(".json"), {"sha256": file_sha256(file)})
            accelerator.wait_for_everyone()
        finally:
            if main:
                partial.unlink(missing_ok=True)

    def _encode(self, images: Images, transform: Transform) -> Iterator[Tensor]:
        return encode_images(
            self.encoder,
            images,
            transform.create_views,
            self.accelerator,
            batch_size=self.batch_size,
            workers=self.workers,
        )
