"""Write the page of a search: one HTML file with thumbnails, which loads nothing."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from sslzoo.embedding.embeddings import Embeddings
from sslzoo.runtime.errors import escape_controls
from sslzoo.runtime.files import write_text
from sslzoo.runtime.paths import shorten_paths
from sslzoo.search.findings import Entry, Findings, Tile
from sslzoo.search.thumbnails import Thumbnails


def write_page(
    file: Path, findings: Findings, collection: Embeddings, queries: Embeddings | None, command: str
) -> None:
    """Write the page of a search.

    Args:
        queries: the query images; None if they are images of the collection.
        command: the command that repeats the search.
    """
    sources = {False: (collection, Thumbnails(collection))}
    if queries is not None:
        sources[True] = (queries, Thumbnails(queries))

    def describe_tile(tile: Tile) -> dict[str, Any]:
        images, thumbnails = sources[tile.is_query]
        name = escape_controls(images.get_name(tile.position))
        return {
            "name": name,
            "short": name.rpartition("/")[2],
            "caption": tile.caption,
            "label": images.get_label(tile.position),
            "agrees": tile.agrees,
            "image": thumbnails.create(tile.position),
        }

    def describe_entry(entry: Entry) -> dict[str, Any]:
        return {
            "title": escape_controls(entry.title),
            "note": entry.note,
            "lead": None if entry.lead is None else describe_tile(entry.lead),
            "tiles": [describe_tile(tile) for tile in entry.tiles],
            "hidden": entry.hidden,
        }

    entries = [describe_entry(entry) for entry in findings.entries]
    metadata = collection.metadata
    shown = [tile for entry in entries for tile in [entry["lead"], *entry["tiles"]] if tile is not None]
    content = {
        "title": findings.title,
        "where": describe_collection(collection),
        "summary": findings.summary,
        "about": {
            "encoder": metadata.get("backbone", ""), "weights": shorten_paths(metadata.get("weights", "")),
            "images": metadata.get("transform", ""),
        },
        "entries": entries,
        "total": findings.total,
        "missing": sum(tile["image"] is None for tile in shown),
        "same": findings.same,
        "has_classes": any(tile["agrees"] is not None for tile in shown),
        "files": list(findings.tables),
        "command": shorten_paths(command),
    }  # fmt: skip
    write_text(file, render_page(content))


def describe_collection(collection: Embeddings) -> str:
    """Describe which images were searched, for example `1,797 images, digits (all)`."""
    metadata = collection.metadata
    root = metadata.get("root")
    where = metadata.get("dataset") or (None if root is None else shorten_paths(root))
    split = f" ({metadata['split']})" if metadata.get("dataset") is not None and metadata.get("split") else ""
    return f"{len(collection):,} images" + (f", {where}{split}" if where else "")


def render_page(content: dict[str, Any]) -> str:
    """Render the page; all values are escaped."""
    template = (files("sslzoo.search") / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(content)
