"""Images through Hugging Face `datasets`: from the Hub, or from local folders and files."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
from datasets import Dataset, IterableDataset
from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns
from huggingface_hub.utils import logging as hub_logging
from rich.console import Console

from sslzoo.data.folder import ImageFolder, Listing, list_folder
from sslzoo.data.images import digest
from sslzoo.data.sources import DATASETS, Source
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.runtime.progress import print_note

datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # otherwise a server is contacted for each local file
huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True

_TABLES = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow"}
_ARCHIVES = {".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
_SHARDS = 1024
"""Parts of a streamed image folder, which are shuffled as a whole."""


@DATASETS.register("huggingface")
class HuggingFace(Source):
    """A data set on the Hub, or local: parquet, folders of images, .tar shards; also a single file or a pattern.

    An existing path is local; otherwise the name is looked up on the Hub. A local data set opens no connection and no
    file outside of its folder; the README.md of a folder is read only if `subset` asks for one of its configurations.
    """

    def load(self, split: str) -> Dataset:
        with self._one_line_errors():
            if self._images is not None:
                self._require(split, list(self._images.splits))
                return self._images.load(split)
            self._prepare()
            self._require(split, list(self._builder.info.splits))
            return self._builder.as_dataset(split=split)

    def list_splits(self) -> list[str]:
        with self._one_line_errors():
            if self._images is not None:
                return list(self._images.splits)
            self._prepare()
            return list(self._builder.info.splits)

    def stream(self, split: str) -> IterableDataset:
        if self._images is not None:
            table = self.load(split)
            return table.to_iterable_dataset(num_shards=min(len(table), _SHARDS))
        with self._one_line_errors():
            splits = self._builder.as_streaming_dataset()
            self._require(split, list(splits))
            parts = [splits[name] for name in _split_names(split)]
            return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)

    def head(self, split: str, count: int | None) -> Dataset:
        if self._images is not None:
            return super().head(split, count)
        stream = self.stream(split)
        rows = stream if count is None else stream.take(count)
        with self._one_line_errors():
            version = digest(str(self._builder.cache_dir), split, str(count))
            return Dataset.from_generator(lambda: iter(rows), features=stream.features, fingerprint=version)

    def _prepare(self) -> None:
        """Download the data set and convert it to a local table, unless this was done before."""
        if rank() == 0 and not Path(self._builder.cache_dir).is_dir():
            print_note(Console(), f"reading {self._path}, once")
        self._builder.download_and_prepare()

    @property
    def folder(self) -> Path | None:
        local = self._local
        if local is None or local.is_dir():
            return local
        return next(parent for parent in local.parents if not has_magic(str(parent)))

    def _require(self, split: str, splits: list[str]) -> None:
        if not set(_split_names(split)) <= set(splits):
            raise self.no_such_split(split, splits)

    @cached_property
    def _local(self) -> Path | None:
        """The absolute local path, without `..`: a folder, a file or a pattern of files; None for a name on the Hub."""
        path = Path(self._path).expanduser()
        exists = path.exists() or has_magic(self._path)
        return Path(os.path.normpath(path.absolute())) if exists else None

    @cached_property
    def _listing(self) -> Listing | None:
        """The files of a local folder, unless it is read by a configuration in its README.md."""
        if self._local is None or not self._local.is_dir() or self.config.subset is not None:
            return None
        with self._one_line_errors():
            return list_folder(self._local)

    @cached_property
    def _images(self) -> ImageFolder | None:
        """The images of a local folder of image files without a table of metadata."""
        if self._local is None or self._listing is None or self._listing.has_metadata:
            return None
        tables, archives = (sum(map(self._listing.suffixes.__getitem__, kinds)) for kinds in (_TABLES, _ARCHIVES))
        if len(self._listing.images) <= tables:
            return None
        if archives and rank() == 0:
            print_note(Console(), f"{self._local}: {archives:,} archives are not read; extract them first")
        return ImageFolder(self._local, self._listing)

    @cached_property
    def _builder(self) -> Any:
        path, config, local = self._path, self.config, self._local
        if local is not None and local.is_dir():
            return self._folder_builder(local)
        if local is not None:
            kind = _TABLES.get(local.suffix.lower())
            if kind is None:
                raise UserError(
                    f"--dataset.path {path}: a file must end in {', '.join(_TABLES)}; for images give their folder"
                )
            if not glob(str(local), recursive=True):  # noqa: PTH207  (any part of the path may be a pattern)
                raise UserError(f"--dataset.path {path}: no such files")
            return datasets.load_dataset_builder(kind, data_files=str(local))
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise UserError(f"--dataset.path {path}: no such file or folder")
        return datasets.load_dataset_builder(path, config.subset, revision=config.revision)

    def _folder_builder(self, folder: Path) -> Any:
        """The builder of a folder of parquet, arrow or .tar files, or of images with a table of metadata."""
        if has_magic(str(folder)):
            raise UserError(
                f"--dataset.path {self._path}: *, ? and [ in a folder's path are read as a pattern; rename the folder"
                " or give a link to it"
            )
        if self._listing is None:
            return self._configured_builder(folder)
        if self._listing.has_metadata and self._listing.images:
            return datasets.load_dataset_builder("imagefolder", data_dir=str(folder))
        suffix = max(_TABLES, key=self._listing.suffixes.__getitem__)
        if self._listing.suffixes[suffix] == 0:
            raise EmptyDatasetError
        found = DataFilesDict.from_patterns(get_data_patterns(str(folder)), base_path=str(folder))
        files = {split: [file for file in found[split] if file.lower().endswith(suffix)] for split in found}
        data_files = {split: names for split, names in files.items() if names}
        return datasets.load_dataset_builder(_TABLES[suffix], data_files=data_files)

    def _configured_builder(self, folder: Path) -> Any:
        """The builder of the configuration `subset` in the folder's README.md."""
        known = datasets.get_dataset_config_names(str(folder))
        if self.config.subset not in known:
            hint = "" if known == ["default"] else near_misses(str(self.config.subset), known)
            raise UserError(
                f"--dataset.subset {self.config.subset}: {folder} has no README.md with such a configuration{hint}"
                " (`--dataset.subset None` reads all files)"
            )
        return datasets.load_dataset_builder(str(folder), self.config.subset)

    @property
    def _path(self) -> str:
        if self.config.path is None:
            raise UserError("--dataset.path: missing; give a name on the Hub, or a local folder or file")
        return self.config.path

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Raise the library's errors as one line; silence its logging, and its progress bars outside of a terminal."""
        with _silence_library():
            try:
                yield
            except UserError:
                raise
            except datasets.exceptions.DatasetNotFoundError as error:
                raise UserError(
                    f"--dataset.path {self._path}: neither a local path nor a readable data set on the"
                    " Hub (gated and private ones need `hf auth login`)"
                ) from error
            except ConnectionError as error:
                raise UserError(
                    f"--dataset.path {self._path}: no such local path, and the Hub could not be reached;"
                    " give a local copy with `--dataset.path FOLDER`"
                ) from error
            except (datasets.exceptions.DataFilesNotFoundError, EmptyDatasetError) as error:
                raise UserError(
                    f"--dataset.path {self._path}: contains no images, parquet files or .tar shards"
                ) from error
            except Exception as error:  # the library's builders fail in many ways
                cause = error.__cause__ or error
                reason = " ".join(str(cause).split())[:300]
                raise UserError(
                    f"--dataset.path {self._path}: not readable: {type(cause).__name__}: {reason}"
                ) from error


def _split_names(split: str) -> list[str]:
    """Return the split names in an expression such as `train+unlabeled` or `train[:10%]`."""
    return [re.sub(r"\[.*", "", part).strip() for part in split.split("+")]


@contextmanager
def _silence_library() -> Iterator[None]:
    bars, verbosity = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    hub_verbosity = hub_logging.get_verbosity()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        if bars:
            datasets.enable_progress_bars()
        datasets.logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
