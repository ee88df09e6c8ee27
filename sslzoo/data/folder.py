"""A local folder of images, listed in one walk."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from datasets import ClassLabel, Dataset, DatasetInfo, Features, Image, ReadInstruction
from datasets.data_files import SPLIT_KEYWORDS
from rich.console import Console

from sslzoo.data.images import digest
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import LineTimer, print_note

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("avif", "bmp", "dib", "gif", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)

ARRAY_SUFFIX = ".npy"
"""Ending of arrays, which are images if the folder contains no other ones."""

SPLIT_NAMES = {name: str(split) for split, names in SPLIT_KEYWORDS.items() for name in names}
"""Folders that are splits, and the names of these splits, as `datasets` has them: `val` is `validation`."""

METADATA = frozenset(("metadata.csv", "metadata.jsonl", "metadata.parquet"))
"""Files that describe the images of a folder for `datasets`."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder, hidden ones and those in hidden folders left out."""

    images: list[str]
    """Paths of the image files, or of the .npy files if there are none, relative to the folder, with forward slashes,
    sorted."""
    suffixes: Counter[str]
    """Number of files by suffix in lower case, images included."""
    has_metadata: bool
    """Whether there is a file named as in `METADATA`."""
    fingerprint: str
    """Changes whenever an image is added, removed, renamed or modified (by path, size and time of modification)."""


def list_folder(folder: Path) -> Listing:
    """List a folder and its subfolders, following links; a line on the console shows the progress of a long walk.

    Raises:
        UserError: the name of an image is not valid UTF-8.
        OSError: a folder cannot be read.
    """
    images: list[str] = []
    arrays: list[str] = []
    suffixes: Counter[str] = Counter()
    has_metadata = False
    state, state_of_arrays = hashlib.sha256(), hashlib.sha256()
    console, lines = Console(quiet=rank() != 0), LineTimer(first=2)
    started = time.monotonic()
    for count, (path, entry) in enumerate(_walk(str(folder), "", {os.path.realpath(folder)})):
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122  (five times as fast as Path)
        suffixes[suffix] += 1
        if suffix in IMAGE_SUFFIXES or suffix == ARRAY_SUFFIX:
            (arrays if suffix == ARRAY_SUFFIX else images).append(path)
            size, modified = _version(entry)
            try:
                (state_of_arrays if suffix == ARRAY_SUFFIX else state).update(f"{path}\0{size}\0{modified}\0".encode())
            except UnicodeEncodeError:
                name = path.encode(errors="backslashreplace").decode()
                raise UserError(
                    f"--dataset.path {folder}: the file name {name} is not valid UTF-8; rename it"
                ) from None
        else:
            has_metadata |= entry.name in METADATA
        if count % 1000 == 999 and lines.is_due():
            lines.restart()
            print_note(console, f"{folder}: {len(images or arrays):,} images so far")
    if not images:
        images, state = arrays, state_of_arrays
    if (seconds := time.monotonic() - started) > 2:
        print_note(console, f"{folder}: {len(images):,} images, listed in {seconds:.0f} s")
    return Listing(images, suffixes, has_metadata, state.hexdigest())


def _walk(root: str, parent: str, linked: set[str]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield the relative path and the entry of each file below `parent`, sorted by path.

    Args:
        root: the folder that paths are relative to.
        parent: relative path of a folder with a slash at its end, or "".
        linked: real paths of the root and of folders reached through links, which are listed once.
    """
    with os.scandir(f"{root}/{parent}") as entries:
        named = [(entry.name + "/" * entry.is_dir(), entry) for entry in entries]
    for name, entry in sorted(named, key=itemgetter(0)):
        if name.startswith((".", "__")):
            continue
        if not name.endswith("/"):
            yield parent + name, entry
            continue
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target in linked:
                continue
            linked.add(target)
        yield from _walk(root, parent + name, linked)


def _version(entry: "os.DirEntry[str]") -> tuple[int, int]:
    """Return the size and time of modification of a file; zeros for a broken link, which decoding reports."""
    try:
        stat = entry.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


class ImageFolder:
    """The images of a folder as tables of its splits.

    If a folder at the top is named `train` or `training`, or all images lie in folders of names in `SPLIT_NAMES`, each
    folder at the top is a split. Otherwise all images are the split `train`. A split has labels if its images lie
    equally deep in at least two different folders; the class of an image is the name of its folder.

    Args:
        folder: absolute.
        listing: of the folder.
    """

    def __init__(self, folder: Path, listing: Listing) -> None:
        self._folder, self._listing = folder, listing

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Relative paths of the images by split, `train` first."""
        tops = {path.partition("/")[0] if "/" in path else "" for path in self._listing.images}
        known = {SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
        if "train" not in known and not all(top.lower() in SPLIT_NAMES for top in tops):
            return {"train": self._listing.images}
        splits: dict[str, list[str]] = {}
        outside = 0
        for path in self._listing.images:
            top, slash, _ = path.partition("/")
            if slash:
                splits.setdefault(SPLIT_NAMES.get(top.lower(), top), []).append(path)
            else:
                outside += 1
        if outside:
            console = Console(quiet=rank() != 0)
            print_note(console, f"{self._folder}: {outside:,} images beside the folders of splits are not used")
        return dict(sorted(splits.items(), key=lambda split: (split[0] != "train", split[0])))

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Names of the folders that the images of a split lie in, by split; only of splits that have labels."""
        classes = {}
        for split, paths in self.splits.items():
            names = {path.split("/")[-2] if "/" in path else "" for path in paths}
            if len(names) > 1 and len({path.count("/") for path in paths}) == 1:
                classes[split] = sorted(names)
        return classes

    def load(self, split: str) -> Dataset:
        """Return a split, or an expression such as `train+unlabeled` or `train[:10%]`, as a table without decoding.

        Its columns are `image`, and `label` if any split has labels; images of other splits have none.
        """
        counts = {name: len(paths) for name, paths in self.splits.items()}
        names = sorted({name for classes in self.classes.values() for name in classes})
        numbers = {name: number for number, name in enumerate(names)}
        paths, labels = [], []
        for part in ReadInstruction.from_spec(split).to_absolute(counts):
            chosen = self.splits[part.splitname][slice(part.from_, part.to)]
            paths += chosen
            labeled = part.splitname in self.classes
            labels += [numbers[path.rsplit("/", 2)[-2]] if labeled else None for path in chosen]
        files = pc.binary_join_element_wise(str(self._folder), pa.array(paths, pa.string()), "/")
        columns, features = {"image": create_cells(files)}, Features(image=Image())
        if names:
            columns["label"], features["label"] = pa.array(labels, pa.int64()), ClassLabel(names=names)
        return Dataset(
            pa.table(columns).cast(features.arrow_schema),
            DatasetInfo(features=features),
            fingerprint=digest(self._listing.fingerprint, str(self._folder), split),
        )


def create_cells(files: pa.Array) -> pa.StructArray:
    """Create the undecoded cells of an image column of `datasets` from the paths of image files."""
    return pa.StructArray.from_arrays([pa.nulls(len(files), pa.binary()), files], ["bytes", "path"])
