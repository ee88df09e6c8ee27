"""Images through Hugging Face `datasets`: from the Hub, or from local folders and files."""

import logging
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
from datasets.data_files import EmptyDatasetError
from huggingface_hub.utils import logging as hub_logging
from rich.console import Console

from sslzoo.data.images import digest
from sslzoo.data.sources import DATASETS, Source
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import print_note

datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # otherwise a server is contacted for each local file
huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True

_FILE_KINDS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow"}


@DATASETS.register("huggingface")
class HuggingFace(Source):
    """A data set on the Hub, or local: parquet, folders of images, .tar shards; also a single file or a pattern.

    An existing path is local; otherwise the name is looked up on the Hub.
    """

    def load(self, split: str) -> Dataset:
        with self._one_line_errors():
            if rank() == 0 and not Path(self._builder.cache_dir).is_dir():
                print_note(Console(), f"reading {self._path}, once")
            self._builder.download_and_prepare()
            self._require(split, list(self._builder.info.splits))
            return self._builder.as_dataset(split=split)

    def stream(self, split: str) -> IterableDataset:
        with self._one_line_errors():
            splits = self._builder.as_streaming_dataset()
            self._require(split, list(splits))
            parts = [splits[name] for name in _split_names(split)]
            return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)

    def head(self, split: str, count: int | None) -> Dataset:
        stream = self.stream(split)
        rows = stream if count is None else stream.take(count)
        with self._one_line_errors():
            version = digest(str(self._builder.cache_dir), split, str(count))
            return Dataset.from_generator(lambda: iter(rows), features=stream.features, fingerprint=version)

    def _require(self, split: str, splits: list[str]) -> None:
        if not set(_split_names(split)) <= set(splits):
            raise self.no_such_split(split, splits)

    @cached_property
    def _builder(self) -> Any:
        path, config = self._path, self.config
        local = Path(path).expanduser()
        if local.is_file() or (has_magic(path) and not local.is_dir()):
            kind = _FILE_KINDS.get(local.suffix.lower())
            if kind is None:
                raise UserError(
                    f"--dataset.path {path}: a file must end in {', '.join(_FILE_KINDS)}; for images give their folder"
                )
            if not glob(str(local), recursive=True):  # noqa: PTH207  (any part of the path may be a pattern)
                raise UserError(f"--dataset.path {path}: no such files")
            return datasets.load_dataset_builder(kind, data_files=str(local.absolute()))
        if local.is_dir():
            folder = str(local.absolute())
            if has_magic(folder):
                raise UserError(
                    f"--dataset.path {path}: *, ? and [ in a folder's path are read as a pattern; rename the folder or "
                    "give a link to it"
                )
            has_subsets = datasets.get_dataset_config_names(folder) != ["default"]
            return datasets.load_dataset_builder(folder, config.subset if has_subsets else None)
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise UserError(f"--dataset.path {path}: no such file or folder")
        return datasets.load_dataset_builder(path, config.subset, revision=config.revision)

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
