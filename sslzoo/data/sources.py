"""The interface of a data source, and the registry of sources."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sslzoo.config.registry import Registry
from sslzoo.data.config import DatasetConfig
from sslzoo.runtime.errors import UserError, near_misses

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class Source(ABC):
    """A collection of images in splits.

    A plug-in source needs `load` only:

        @DATASETS.register("my-scans")
        class MyScans(Source):
            def load(self, split: str) -> datasets.Dataset: ...
    """

    name: ClassVar[str]

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @property
    def folder(self) -> Path | None:
        """The absolute folder that image files named in cells must lie in; None permits any file and URL."""
        return None

    @abstractmethod
    def load(self, split: str) -> "Dataset":
        """Load a split as a table with a column of images, and optionally one of labels.

        Raises:
            UserError: the split does not exist.
        """

    def list_splits(self) -> list[str]:
        """List the names of the splits.

        Raises:
            UserError: the source does not know them.
        """
        raise UserError(f"--split all: the source {self.name} does not list its splits; name one")

    def stream(self, split: str) -> "IterableDataset":
        """Open a split as a stream of rows."""
        return self.load(split).to_iterable_dataset()

    def head(self, split: str, count: int | None) -> "Dataset":
        """Load the first `count` rows of a split, or all of them, as a table; used for evaluation with streaming."""
        table = self.load(split)
        return table if count is None else table.select(range(min(count, len(table))))

    def no_such_split(self, split: str, splits: list[str]) -> UserError:
        """Create the error of a missing split; it names the setting and the available splits."""
        config = self.config
        settings = {config.train: "train", config.labeled: "labeled", config.test: "test"}
        setting = settings.get(split, "train")
        hint = " (`--dataset.test None` if there is no test split)" if setting == "test" else ""
        owner = config.path or config.source
        return UserError(f"--dataset.{setting} {split}: no such split; {owner} has {', '.join(splits) or 'none'}{hint}")


DATASETS: Registry[type[Source]] = Registry("dataset", base=Source)


def open_source(config: DatasetConfig) -> Source:
    """Create the source that a config names.

    Raises:
        UserError: no source has that name.
    """
    if config.source not in DATASETS.names():
        raise UserError(
            f"--dataset.source {config.source}: no such source{near_misses(config.source, DATASETS.names())}"
        )
    return DATASETS.get(config.source)(config)
