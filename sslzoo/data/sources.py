"""Where images come from: the interface of a source, and the table of sources by name."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from sslzoo.config.registry import Registry
from sslzoo.data.config import DatasetConfig
from sslzoo.runtime.errors import UserError, near_misses

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class Source(ABC):
    """A collection of images in splits.

    A plug-in's source needs `load` only:

        @DATASETS.register("my-scans")
        class MyScans(Source):
            def load(self, split: str) -> datasets.Dataset: ...
    """

    name: ClassVar[str]

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @abstractmethod
    def load(self, split: str) -> "Dataset":
        """A split as a table with a column of images, and one of labels where there are labels.

        Raises:
            UserError: there is no such split.
        """

    def stream(self, split: str) -> "IterableDataset":
        """A split as a stream of rows."""
        return self.load(split).to_iterable_dataset()

    def head(self, split: str, count: int | None) -> "Dataset":
        """The first rows of a split that is otherwise streamed, or all of them, as a table."""
        table = self.load(split)
        return table if count is None else table.select(range(min(count, len(table))))

    def no_such_split(self, split: str, splits: list[str]) -> UserError:
        """The error of a missing split, naming the setting that asked for it and the splits there are."""
        config = self.config
        asked = {config.train: "train", config.labeled: "labeled", config.test: "test"}
        setting = asked.get(split, "train")
        hint = " (`--dataset.test None`, if there is nothing to measure on)" if setting == "test" else ""
        where = config.path or config.source
        return UserError(f"--dataset.{setting} {split}: no such split; {where} has {', '.join(splits) or 'none'}{hint}")


DATASETS: Registry[type[Source]] = Registry("dataset", base=Source)


def open_source(config: DatasetConfig) -> Source:
    """The source that a config names.

    Raises:
        UserError: there is no source of that name.
    """
    if config.source not in DATASETS.names():
        raise UserError(
            f"--dataset.source {config.source}: no such source{near_misses(config.source, DATASETS.names())}"
        )
    return DATASETS.get(config.source)(config)
