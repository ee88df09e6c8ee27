"""Pictures decoded once into a file that every process maps into memory.

A split's folder is named by the fingerprint of its pictures and holds

- `pixels.bin`: the pixels of all pictures, uint8, each (channels, height, width), one after the other;
- `sizes.npy`: (n, 2) int32, height and width of each;
- `meta.json`: what the folder holds, for people.
"""

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from sslzoo.data.batch import Batch
from sslzoo.data.config import DatasetConfig
from sslzoo.data.pictures import FORMAT, EncodedPictures, Indices, Pictures, pad
from sslzoo.data.threads import threaded_map
from sslzoo.errors import UserError

_CHUNK = 64
_GIB = 1 << 30

log = logging.getLogger(__name__)


class CachedPictures(Pictures):
    """Pictures in a folder of the cache; ids, labels and classes are those of the encoded ones.

    Raises:
        OSError, ValueError: the folder is missing or incomplete.
    """

    decoded = True

    def __init__(self, folder: Path, encoded: EncodedPictures) -> None:
        self.ids, self.labels, self.classes = encoded.ids, encoded.labels, encoded.classes
        self.channels, self.fingerprint = encoded.channels, encoded.fingerprint
        self._sizes: Indices = np.load(folder / "sizes.npy").astype(np.int64)
        lengths = self._sizes.prod(axis=1) * self.channels
        self._ends = np.cumsum(lengths)
        self._pixels: NDArray[np.uint8] = np.asarray(np.memmap(folder / "pixels.bin", dtype=np.uint8, mode="r"))
        if len(self._sizes) != len(self.ids) or self._pixels.size != lengths.sum():
            raise ValueError(f"{folder}: incomplete")
        if (self._sizes == self._sizes[0]).all():
            self._pixels = self._pixels.reshape(-1, self.channels, *self._sizes[0].tolist())

    def gather(self, indices: Indices) -> Batch:
        if self._pixels.ndim == 4:
            pixels, sizes = torch.from_numpy(self._pixels[indices]), torch.from_numpy(self._sizes[indices])
        else:
            pixels, sizes = pad([self._picture(index) for index in indices])
        return self._batch(pixels, sizes, indices)

    def _picture(self, index: np.int64) -> NDArray[np.uint8]:
        height, width = self._sizes[index]
        end = self._ends[index]
        flat = self._pixels[end - self.channels * height * width : end]
        return flat.reshape(self.channels, height, width)


def cached(pictures: EncodedPictures, config: DatasetConfig) -> Pictures:
    """The pictures from the cache, decoded into it first where they are not there; as they are if not wanted.

    One process decodes while others wait. What is half-written never has the final name, so a process that
    dies leaves nothing that is taken for whole.

    Raises:
        UserError: a picture does not decode, the folder cannot be written, or the disk is full.
    """
    if config.cache == "none":
        return pictures
    root = cache_root(config)
    folder = root / pictures.fingerprint
    try:
        root.mkdir(parents=True, exist_ok=True)
        if found := _open(folder, pictures):
            return found
        lock = FileLock(root / f"{pictures.fingerprint}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: waiting for another process that decodes it", pictures.name)
            lock.acquire()
        try:
            if found := _open(folder, pictures):
                return found
            if config.cache == "auto" and not _fits(pictures, root, config.cache_gib):
                return pictures
            _build(folder, pictures)
        finally:
            lock.release()
        return CachedPictures(folder, pictures)
    except OSError as error:
        raise UserError(
            f"--dataset.cache-dir {root}: {error.strerror or error}; name another folder, or decode"
            " every time with --dataset.cache none"
        ) from error


def cache_root(config: DatasetConfig) -> Path:
    """The folder of all decoded data sets: the setting, else $SSLZOO_CACHE, else the user's cache folder."""
    if config.cache_dir is not None:
        return config.cache_dir.expanduser().absolute()
    if named := os.environ.get("SSLZOO_CACHE"):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sslzoo"


def _open(folder: Path, pictures: EncodedPictures) -> CachedPictures | None:
    try:
        return CachedPictures(folder, pictures)
    except (FileNotFoundError, EOFError, ValueError):
        return None


def _fits(pictures: EncodedPictures, root: Path, gib: float) -> bool:
    """Whether the decoded pictures, judged by a sample, fit the allowance and half the free disk."""
    sample = np.unique(np.linspace(0, len(pictures) - 1, 64).astype(np.int64))
    size = np.mean([picture.nbytes for picture in pictures.decode(sample)]) * len(pictures)
    return bool(size <= min(gib * _GIB, shutil.disk_usage(root).free / 2))


def _build(folder: Path, pictures: EncodedPictures) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (partial, folder):  # of a process that died; the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        sizes = _write_pixels(partial / "pixels.bin", pictures)
        np.save(partial / "sizes.npy", np.array(sizes, dtype=np.int32))
        meta = {
            "what": pictures.name,
            "pictures": len(pictures),
            "channels": pictures.channels,
            "short_side": pictures.short_side,
            "format": FORMAT,
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_pixels(file: Path, pictures: EncodedPictures) -> list[tuple[int, int]]:
    """Decode in threads (decoders release the interpreter's lock) and write in order; returns the sizes."""
    console = Console(stderr=True)
    threads = min(os.cpu_count() or 1, 32)
    chunks = np.split(np.arange(len(pictures)), range(_CHUNK, len(pictures), _CHUNK))
    decoded = threaded_map(pictures.decode, chunks, threads=threads, ahead=2 * threads)
    sizes = []
    with file.open("wb") as pixels:
        for chunk in track(
            decoded,
            f"decoding {pictures.name}",
            total=len(chunks),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        ):
            for picture in chunk:
                pixels.write(picture.data)
                sizes.append((picture.shape[1], picture.shape[2]))
    return sizes
