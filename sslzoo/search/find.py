"""Run a search and describe what it found."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sslzoo.embedding.embeddings import Embeddings
from sslzoo.embedding.nearest import Neighbors
from sslzoo.search.findings import Entry, Findings, Tile
from sslzoo.search.request import Request

TILES = 24
"""Images of a group or cluster on the page."""
PRINTED = 10
"""Rows of the printed table."""

Advance = Callable[[int], None]


def find(request: Request, collection: Embeddings, queries: Embeddings | None, advance: Advance) -> Findings:
    """Run the requested search.

    Args:
        queries: features of the query images; None for each image of the collection.
        advance: receives the number of images that were searched.

    Raises:
        UserError: the collection does not support the search.
    """
    match request.kind:
        case "nearest":
            return find_nearest(request, collection, queries, advance)
        case "duplicates":
            return find_duplicates(request, collection, advance)
        case "outliers":
            return find_outliers(request, collection, advance)
        case "clusters":
            return find_clusters(request, collection)


def find_nearest(request: Request, collection: Embeddings, queries: Embeddings | None, advance: Advance) -> Findings:
    """Find the nearest neighbors of each query."""
    neighbors = collection.nearest(queries, request.k, index=request.index, advance=advance)
    asked = collection if queries is None else queries
    table: list[list[Any]] = [["query", "rank", "image", "similarity", *_label_header(collection)]]
    rows = []
    for number, (places, similarities) in enumerate(zip(neighbors.indices, neighbors.similarities, strict=True)):
        name = asked.get_name(number)
        found = [(int(p), float(s)) for p, s in zip(places, similarities, strict=True) if p >= 0]
        for rank, (place, similarity) in enumerate(found, 1):
            table.append([name, rank, collection.get_name(place), similarity, *_label(collection, place)])
        if number < PRINTED and found:
            best = found[0]
            rows.append([name, collection.get_name(best[0]), f"{best[1]:.4f}"])
    shown = choose_evenly(len(asked), request.show)
    entries = [
        Entry(
            asked.get_name(number),
            note=" ".join(_label(asked, number)),
            lead=Tile(number, "query", is_query=queries is not None),
            tiles=[
                Tile(int(place), f"{similarity:.3f}", _agree(asked, number, collection, int(place)))
                for place, similarity in zip(neighbors.indices[number], neighbors.similarities[number], strict=True)
                if place >= 0
            ],
        )
        for number in shown
    ]
    agreement = measure_agreement(asked, collection, neighbors)
    summary = {"queries": f"{len(asked):,}", **_describe_index(neighbors.recall)}
    if agreement is not None:
        summary["same class"] = f"{100 * agreement:.1f} % of the neighbors"
    numbers: dict[str, Any] = {"queries": len(asked), "k": neighbors.indices.shape[1], "recall": neighbors.recall}
    numbers["same_class"] = agreement
    return Findings(
        "Nearest images", summary, numbers, entries, len(asked), {"nearest.csv": table},
        ["query", "most similar", "similarity"], rows, text_columns=2,
    )  # fmt: skip


def find_duplicates(request: Request, collection: Embeddings, advance: Advance) -> Findings:
    """Find groups of near-duplicates."""
    found = collection.near_duplicates(request.threshold, index=request.index, advance=advance)
    best = np.full(len(collection), -1.0)
    for column in (0, 1):
        np.maximum.at(best, found.pairs[:, column], found.similarities)
    pairs: list[list[Any]] = [["image", "other", "similarity"]]
    for (a, b), similarity in zip(found.pairs.tolist(), found.similarities.tolist(), strict=True):
        pairs.append([collection.get_name(a), collection.get_name(b), similarity])
    groups: list[list[Any]] = [["group", "image", "similarity", *_label_header(collection)]]
    for number, group in enumerate(found.groups, 1):
        for place in group.tolist():
            groups.append([number, collection.get_name(place), float(best[place]), *_label(collection, place)])
    entries = [
        Entry(
            f"Group {number}",
            note=f"{len(group):,} images",
            tiles=[Tile(place, f"{best[place]:.4f}") for place in group[:TILES].tolist()],
            hidden=max(0, len(group) - TILES),
        )
        for number, group in enumerate(found.groups[: request.show], 1)
    ]
    members = sum(len(group) for group in found.groups)
    redundant = members - len(found.groups)
    summary = {
        "threshold": f"cosine similarity at least {request.threshold:g}",
        "pairs": f"{len(found.pairs):,}",
        "groups": f"{len(found.groups):,}, of {members:,} images; keeping one of each group removes {redundant:,}",
        **_describe_index(found.recall),
    }
    numbers: dict[str, Any] = {"threshold": request.threshold, "pairs": len(found.pairs), "groups": len(found.groups)}
    numbers |= {"redundant": redundant, "recall": found.recall}
    rows = [[str(a), str(b), f"{similarity:.4f}"] for a, b, similarity in pairs[1 : PRINTED + 1]]
    return Findings(
        "Near-duplicates", summary, numbers, entries, len(found.groups), {"pairs.csv": pairs, "groups.csv": groups},
        ["image", "near-duplicate", "similarity"], rows, text_columns=2,
    )  # fmt: skip


def find_outliers(request: Request, collection: Embeddings, advance: Advance) -> Findings:
    """Rank outliers."""
    found = collection.outliers(request.k, index=request.index, advance=advance)
    table: list[list[Any]] = [["rank", "image", "distance", *_label_header(collection)]]
    for rank, place in enumerate(found.order.tolist(), 1):
        row = [rank, collection.get_name(place), float(found.distances[place]), *_label(collection, place)]
        table.append(row)
    shown = found.order[: request.show].tolist()
    tiles = [Tile(place, f"{found.distances[place]:.3f}") for place in shown]
    hidden = len(collection) - len(shown)
    entry = Entry("Most outlying images", note="mean cosine distance below each", tiles=tiles, hidden=hidden)
    k = min(request.k, len(collection) - 1)
    median = float(np.median(found.distances))
    summary = {
        "distance": f"mean cosine distance to the {k} nearest images; median of all images {median:.3f}",
        **_describe_index(found.recall),
    }
    numbers = {"k": k, "median_distance": median, "recall": found.recall}
    rows = [[name, f"{distance:.4f}", *label] for _, name, distance, *label in table[1 : PRINTED + 1]]
    return Findings(
        "Outliers", summary, numbers, [entry], 1, {"outliers.csv": table},
        ["image", "distance", *_label_header(collection)], rows,
    )  # fmt: skip


def find_clusters(request: Request, collection: Embeddings) -> Findings:
    """Find clusters, and compare them with labels."""
    found = collection.clusters(request.clusters, request.seed)
    table: list[list[Any]] = [["image", "cluster", "similarity", *_label_header(collection)]]
    for place, (cluster, similarity) in enumerate(zip(found.assignment, found.similarities, strict=True)):
        row = [collection.get_name(place), int(cluster) + 1, float(similarity), *_label(collection, place)]
        table.append(row)
    entries, rows = [], []
    for cluster in range(len(found.centroids)):
        members = found.find_members(cluster)
        majority, share = _find_majority(collection, members)
        mean = float(found.similarities[members].mean())
        rows.append([str(cluster + 1), f"{len(members):,}", f"{mean:.3f}", *([majority, share] if majority else [])])
        if cluster < request.show:
            note = f"{len(members):,} images" + (f", {share} {majority}" if majority else "")
            tiles = [
                Tile(place, f"{found.similarities[place]:.3f}", _is_class(collection, place, majority))
                for place in members[:TILES].tolist()
            ]
            entries.append(Entry(f"Cluster {cluster + 1}", note, None, tiles, max(0, len(members) - TILES)))
    summary = {"clusters": f"{len(found.centroids)}, seed {request.seed}"}
    if found.purity is not None and found.nmi is not None:
        summary |= {"purity": f"{100 * found.purity:.1f} %", "NMI": f"{found.nmi:.3f}"}
    numbers = {"clusters": len(found.centroids), "seed": request.seed, "purity": found.purity, "nmi": found.nmi}
    header = ["cluster", "images", "similarity", *(["most frequent class", "share"] if len(rows[0]) > 3 else [])]
    return Findings(
        "Clusters", summary, numbers, entries, len(rows), {"clusters.csv": table}, header, rows,
        same="the most frequent class of the cluster",
    )  # fmt: skip


def choose_evenly(total: int, at_most: int) -> list[int]:
    """Choose numbers below `total` at equal distances."""
    chosen: list[int] = np.unique(np.linspace(0, total - 1, min(total, at_most)).astype(np.int64)).tolist()
    return chosen


def measure_agreement(asked: Embeddings, collection: Embeddings, neighbors: Neighbors) -> float | None:
    """Return the share of neighbors with the class of their query, of those that both have one."""
    if asked.labels is None or collection.labels is None or asked.classes != collection.classes:
        return None
    own, theirs = asked.labels[:, None], collection.labels[neighbors.indices]
    known = (own >= 0) & (theirs >= 0) & (neighbors.indices >= 0)
    return float((own == theirs)[known].mean()) if known.any() else None


def _describe_index(recall: float | None) -> dict[str, str]:
    if recall is None:
        return {"search": "exact"}
    return {"search": f"approximate, by FAISS; recall {recall:.3f}, measured against the exact search on a sample"}


def _label_header(collection: Embeddings) -> list[str]:
    return [] if collection.labels is None else ["label"]


def _label(collection: Embeddings, place: int) -> list[str]:
    """The class of an image in a list, which is empty if there are no labels."""
    return [] if collection.labels is None else [collection.get_label(place)]


def _agree(asked: Embeddings, number: int, collection: Embeddings, place: int) -> bool | None:
    own, theirs = _label(asked, number), _label(collection, place)
    return own == theirs if all(own) and all(theirs) and own and theirs else None


def _is_class(collection: Embeddings, place: int, name: str) -> bool | None:
    label = _label(collection, place)
    return label == [name] if name and all(label) else None


def _find_majority(collection: Embeddings, members: np.ndarray) -> tuple[str, str]:
    """The most frequent class of some images and its share, both empty if none has a label."""
    if collection.labels is None:
        return "", ""
    labels = collection.labels[members]
    labels = labels[labels >= 0]
    if not len(labels) or not collection.classes:
        return "", ""
    counts = np.bincount(labels)
    return collection.classes[int(counts.argmax())], f"{100 * counts.max() / len(labels):.0f} %"
