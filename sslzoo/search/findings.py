"""The result of a search: entries of a page, tables, and numbers."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tile:
    """An image of an entry."""

    position: int
    """Position of the image in its collection."""
    caption: str
    """Similarity or distance, for display."""
    agrees: bool | None = None
    """Whether its class is that of the entry; None if one of them has no label."""
    is_query: bool = False
    """Whether the position is that of a query, not of an image of the collection."""


@dataclass(frozen=True)
class Entry:
    """A query with its neighbors, a group of near-duplicates, or a cluster."""

    title: str
    note: str = ""
    lead: Tile | None = None
    """The query."""
    tiles: list[Tile] = field(default_factory=list)
    hidden: int = 0
    """Number of further images that the page does not show."""


@dataclass(frozen=True)
class Findings:
    """The result of a search."""

    title: str
    summary: dict[str, str]
    """Numbers and how they were obtained, for display."""
    numbers: dict[str, Any]
    """The same for result.json."""
    entries: list[Entry]
    """Entries for the page, at most as many as were requested."""
    total: int
    """Number of all entries."""
    tables: dict[str, list[list[Any]]]
    """Rows of each CSV file, by its name, header first."""
    columns: list[str]
    """Header of the printed table."""
    rows: list[list[str]]
    """First rows of the printed table."""
    same: str = "the class of the query"
    """What a tile that agrees has in common with its entry, for the legend of the page."""
    text_columns: int = 1
    """Number of columns of text, from the left."""
