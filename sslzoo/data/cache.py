"""The cache: images that are decoded once into a file, which every process maps into memory.

The folder of a split is named by the fingerprint of its images and contains

- `pixels.bin`: the pixels of all images, each (channels, height, width), one after the other;
- `sizes.npy`: (n, 2) int32, height and width of each image, 0 for an undecodable one;
- `checksums.npy`: (n, 8) uint8, the start of the SHA-256 of each image's pixels;
- `skipped.json`: the error message of each undecodable image, by its position;
- `meta.json`: a description of the folder for people, and the SHA-256 of the other files but the pixels.

An image is checked when it is first read; a folder of up to 1 GiB is checked as a whole when it is opened.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.console import Console

from sslzoo.data.batch import Batch
from sslzoo.data.config import DatasetConfig
from sslzoo.data.images import FORMAT, EncodedImages, Images, Indices, digest, pad
from sslzoo.data.pixels import Pixels
from sslzoo.data.threads import threaded_map
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import file_sha256, flush, read_json, write_json
from sslzoo.runtime.progress import Steps, print_note

_CHUNK = 64
_GIB = 1 << 30
_INDEX = ("sizes.npy", "checksums.npy", "skipped.json")

log = logging.getLogger(__name__)


class CachedImages(Images):
    """Images in a folder of the cache without the undecodable ones; ids and labels are those of `encoded`.

    Raises:
        OSError, ValueError: the folder is missing, incomplete or damaged.
        UserError: more images are undecodable than may be skipped.
    """

    decoded = True

    def __init__(self, folder: Path, encoded: EncodedImages) -> None:
        self.classes, self.fingerprint = encoded.classes, encoded.fingerprint
        self.channels, self.dtype = encoded.channels, encoded.dtype
        self._folder = folder
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for name in _INDEX:
            if file_sha256(folder / name) != meta["sha256"][name]:
                raise ValueError(f"{folder}/{name}: damaged")
        sizes: Indices = np.load(folder / "sizes.npy").astype(np.int64)
        lengths = sizes.prod(axis=1) * self.channels
        self._pixels: Pixels = np.asarray(np.memmap(folder / "pixels.bin", dtype=self.dtype, mode="r"))
        skipped = json.loads((folder / "skipped.json").read_text(encoding="utf-8"))
        valid = lengths > 0
        if len(sizes) != len(encoded) or self._pixels.size != lengths.sum() or len(skipped) != (~valid).sum():
            raise ValueError(f"{folder}: incomplete")
        encoded.skipped.add(skipped.values())
        self._sizes, self._ends = sizes[valid], np.cumsum(lengths)[valid]
        self.ids = encoded.ids[valid]
        self.labels = None if encoded.labels is None else encoded.labels[valid]
        self._checksums: NDArray[np.uint8] = np.load(folder / "checksums.npy")[valid]
        self.pixel_digest = digest(self._sizes.tobytes(), self._checksums.tobytes())
        self._checked = np.zeros(len(self._sizes), dtype=bool)
        if (self._sizes == self._sizes[0]).all():
            self._pixels = self._pixels.reshape(-1, self.channels, *self._sizes[0].tolist())
        if self._pixels.nbytes <= _GIB:
            self._check(np.arange(len(self)))

    def _check(self, indices: Indices) -> None:
        """Compare images that were not read before with their checksums.

        Raises:
            ValueError: the pixels of an image have changed.
        """
        for index in indices[~self._checked[indices]]:
            if _checksum(self._image(index)) != self._checksums[index].tobytes():
                raise ValueError(f"{self._folder}/pixels.bin: damaged at image {index}")
            self._checked[index] = True

    def gather(self, indices: Indices) -> Batch:
        self._require_intact(indices)
        if self._pixels.ndim == 4:
            pixels, sizes = torch.from_numpy(self._pixels[indices]), torch.from_numpy(self._sizes[indices])
        else:
            pixels, sizes = pad([self._image(index) for index in indices])
        return self._batch(pixels, sizes, indices)

    def stacked(self) -> Pixels | None:
        if self._pixels.ndim != 4:
            return None
        self._require_intact(np.arange(len(self)))
        return self._pixels

    def _require_intact(self, indices: Indices) -> None:
        try:
            self._check(indices)
        except ValueError as error:
            raise UserError(f"{error}; delete this folder, and its images are decoded again") from None

    def _image(self, index: np.int64) -> Pixels:
        if self._pixels.ndim == 4:
            image: Pixels = self._pixels[index]
            return image
        height, width = self._sizes[index]
        end = self._ends[index]
        flat = self._pixels[end - self.channels * height * width : end]
        return flat.reshape(self.channels, height, width)


def load_cached(images: EncodedImages, config: DatasetConfig) -> Images:
    """Load the images from the cache, after decoding them into it if needed.

    Without a cache, or if the decoded images do not fit, the result decodes images whenever they are read. One process
    decodes while others wait. A folder gets its final name only when it is complete, so a process that dies leaves no
    folder that looks complete.

    Raises:
        UserError: too many images are undecodable, the folder cannot be written, or the disk is full.
    """
    if config.cache == "none":
        return drop_undecodable(images, config)
    root = cache_root(config)
    folder = root / images.fingerprint
    try:
        root.mkdir(parents=True, exist_ok=True)
        if found := _open_folder(folder, images):
            return found
        with _hold_lock(root, images):
            if found := _open_folder(folder, images):
                return found
            if config.cache == "memory-map" or _fits(images, root, config.cache_gib):
                _build(folder, images)
                return CachedImages(folder, images)
    except OSError as error:
        raise UserError(
            f"--dataset.cache-dir {root}: {error.strerror or error}; name another folder, or decode"
            " on every read with --dataset.cache none"
        ) from error
    return drop_undecodable(images, config)


def drop_undecodable(images: EncodedImages, config: DatasetConfig) -> Images:
    """Drop the undecodable images, if any may be skipped; the others are decoded whenever they are read.

    Finding them takes one decoding of all images. The result is stored in the cache folder if it is writable.

    Raises:
        UserError: too many images are undecodable.
    """
    if config.max_skipped == 0:
        return images
    root = cache_root(config)
    file = root / f"{images.fingerprint}.skipped.json"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _hold_lock(root, images):
            bad = _read_skipped(file, len(images))
            if bad is None:
                bad = _find_undecodable(images)
                write_json(file, {str(position): message for position, message in bad.items()})
    except OSError as error:
        log.info("%s: %s", root, error)
        bad = _find_undecodable(images)
    images.skipped.add(bad.values())
    return images.subset(np.delete(np.arange(len(images)), list(bad))) if bad else images


def _read_skipped(file: Path, images: int) -> dict[int, str] | None:
    """Read the error of each undecodable image by its position; None if the file is missing or damaged."""
    try:
        content = read_json(file)
        skipped = {int(position): str(message) for position, message in content.items()}
    except (UserError, ValueError):
        return None
    return skipped if all(0 <= position < images for position in skipped) else None


def cache_root(config: DatasetConfig) -> Path:
    """Return the folder of all decoded data sets: the setting, else $SSLZOO_CACHE, else the user's cache folder."""
    if config.cache_dir is not None:
        return config.cache_dir.expanduser().absolute()
    if named := os.environ.get("SSLZOO_CACHE"):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sslzoo"


@contextmanager
def _hold_lock(root: Path, images: EncodedImages) -> Iterator[None]:
    lock = FileLock(root / f"{images.fingerprint}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if rank() == 0:
            print_note(Console(), f"{images.name}: waiting for another process to decode it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _open_folder(folder: Path, images: EncodedImages) -> CachedImages | None:
    """Open a folder of the cache; return None if it must be written first, or again as it is damaged."""
    try:
        return CachedImages(folder, images)
    except UserError:
        raise
    except FileNotFoundError:
        return None
    except (EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("%s: %s", folder, error)
        return None


def _fits(images: EncodedImages, root: Path, gib: float) -> bool:
    """Estimate from a sample whether the decoded images fit into `gib` and half the free disk."""
    sample = np.unique(np.linspace(0, len(images) - 1, 64).astype(np.int64))
    sizes = [image.nbytes for image in images.decode(sample) if not isinstance(image, str)]
    size = sum(sizes) / max(len(sizes), 1) * len(images)
    return bool(size <= min(gib * _GIB, shutil.disk_usage(root).free / 2))


def _build(folder: Path, images: EncodedImages) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (partial, folder):  # of a process that died; this process holds the lock
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        sizes, checksums, skipped = _write_pixels(partial / "pixels.bin", images)
        write_json(partial / "skipped.json", {str(position): message for position, message in skipped.items()})
        np.save(partial / "sizes.npy", np.array(sizes, dtype=np.int32))
        np.save(partial / "checksums.npy", np.frombuffer(b"".join(checksums), dtype=np.uint8).reshape(-1, 8))
        meta = {
            "what": images.name,
            "images": len(images),
            "channels": images.channels,
            "dtype": images.dtype,
            "short_side": images.short_side,
            "format": FORMAT,
            "sha256": {name: file_sha256(partial / name) for name in _INDEX},
        }
        write_json(partial / "meta.json", meta)
        for name in ("pixels.bin", "sizes.npy", "checksums.npy"):
            flush(partial / name)
        partial.rename(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_pixels(file: Path, images: EncodedImages) -> tuple[list[tuple[int, int]], list[bytes], dict[int, str]]:
    """Decode and write all images in order; return sizes and checksums, and errors of undecodable ones by position."""
    sizes: list[tuple[int, int]] = []
    checksums, skipped = [], {}
    with file.open("wb") as pixels:
        for position, image in enumerate(_decode_all(images, f"decoding {images.name}")):
            if isinstance(image, str):
                skipped[position] = image
                sizes.append((0, 0))
                checksums.append(bytes(8))
            else:
                pixels.write(image.data)
                sizes.append((image.shape[1], image.shape[2]))
                checksums.append(_checksum(image))
    return sizes, checksums, skipped


def _checksum(image: Pixels) -> bytes:
    """Return the first 8 bytes of the SHA-256 of an image's pixels."""
    return hashlib.sha256(image.data).digest()[:8]


def _find_undecodable(images: EncodedImages) -> dict[int, str]:
    """Decode all images once; return the errors of undecodable ones by position."""
    decoded = enumerate(_decode_all(images, f"checking {images.name}"))
    return {position: image for position, image in decoded if isinstance(image, str)}


def _decode_all(images: EncodedImages, what: str) -> Iterator[Pixels | str]:
    """Decode all images in order, in threads (decoders release the GIL); yield pixels or an error message.

    Raises:
        UserError: too many images are undecodable, or all of them.
    """
    console = Console()
    threads = min(os.cpu_count() or 1, 32)
    chunks = np.split(np.arange(len(images)), range(_CHUNK, len(images), _CHUNK))
    decoded = threaded_map(images.decode, chunks, threads=threads, ahead=2 * threads)
    any_decoded = False
    print_note(console, f"{what}: {len(images):,} images, once")
    with Steps(console, what, len(images)) as steps:
        for chunk in decoded:
            undecodable = [image for image in chunk if isinstance(image, str)]
            images.skipped.add(undecodable)
            any_decoded |= len(undecodable) < len(chunk)
            yield from chunk
            steps.advance(len(chunk))
    if not any_decoded:
        raise UserError(f"{undecodable[0]}; no other image can be decoded either")
