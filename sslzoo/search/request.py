"""Command-line arguments of `run.py search`."""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sslzoo.config.arguments import ArgumentParser
from sslzoo.embedding.compose import compose_embedding
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.embedding.names import FORMATS
from sslzoo.runtime.errors import UserError, near_misses

Kind = Literal["nearest", "duplicates", "outliers", "clusters"]

KINDS: dict[str, str] = {
    "nearest": "the most similar images to each query, or to each image of the collection",
    "duplicates": "pairs and groups of images that are more similar than a threshold",
    "outliers": "images that are far from their nearest neighbors",
    "clusters": "groups of similar images by spherical k-means, with purity and NMI if there are labels",
}

DESCRIPTION = """\
Search in a collection of images by their features, and write tables and a page with thumbnails:

  run.py search nearest FEATURES --query cat.jpg          the images most similar to cat.jpg
  run.py search duplicates FEATURES --threshold 0.95      near-duplicates
  run.py search outliers FEATURES                         images that resemble no other
  run.py search clusters FEATURES --clusters 20           groups of similar images

FEATURES is a file that `embed` wrote. With the arguments of `embed` instead, the images are embedded first:

  run.py search duplicates resnet50.a1_in1k --images my_images
"""


@dataclass(frozen=True)
class Request:
    """The arguments of `search`."""

    kind: Kind
    features: Path | None
    """File of features; None to embed images first."""
    job: EmbeddingJob | None
    """Settings of the embedding, if there is no file of features."""
    queries: tuple[str, ...]
    """Image files, folders or lists to search neighbors for; empty for each image of the collection."""
    k: int
    threshold: float
    clusters: int
    seed: int
    index: Literal["auto", "exact", "approximate"]
    show: int
    """Largest number of entries on the page."""
    folder: Path | None
    """Folder of the result; None creates one in `search/`."""


def parse_request(words: Sequence[str]) -> Request:
    """Parse the arguments of the command.

    Raises:
        UserError: an argument is missing or invalid.
        SystemExit: after `--help`.
    """
    parser = _create_parser()
    words = list(words)
    if not words or words[0] in ("-h", "--help"):
        parser.print_help()
        raise SystemExit(0)
    kind = words.pop(0)
    if kind not in KINDS:
        raise UserError(f"search {kind}: no such search{near_misses(kind, KINDS)}")
    asked, rest = parser.parse_known_args([kind, *words])
    _check(kind, words, asked.k, asked.threshold, asked.clusters, asked.show)
    features, job = _find_features(rest)
    return Request(
        kind=kind,  # type: ignore[arg-type]  # checked above
        features=features,
        job=job,
        queries=tuple(asked.query),
        k=asked.k,
        threshold=asked.threshold,
        clusters=asked.clusters,
        seed=asked.seed,
        index=asked.index,
        show=asked.show,
        folder=asked.folder,
    )


def _create_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="run.py search",
        usage="run.py search {nearest,duplicates,outliers,clusters} FEATURES [OPTIONS]",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
    )
    kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    parser.add_argument("kind", metavar="SEARCH", help=kinds)
    parser.add_argument(
        "--query", nargs="+", action="extend", default=[], metavar="IMAGE",
        help="nearest: image files, folders, or text files with a path on each line; default: each image of FEATURES",
    )  # fmt: skip
    parser.add_argument("--k", type=int, default=10, help="nearest, outliers: number of neighbors (default: 10)")
    parser.add_argument(
        "--threshold", type=float, default=0.95, help="duplicates: smallest cosine similarity (default: 0.95)"
    )
    parser.add_argument("--clusters", type=int, default=20, help="clusters: number of clusters (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="clusters: seed of the first centroids (default: 0)")
    parser.add_argument(
        "--index",
        choices=("auto", "exact", "approximate"),
        default="auto",
        help="compare all images, or search a FAISS index whose recall is measured; auto: exact up to a million images",
    )
    parser.add_argument("--show", type=int, default=50, help="largest number of entries on the page (default: 50)")
    parser.add_argument("--folder", type=Path, help="folder of the result (default: a new one in search/)")
    return parser


def _check(kind: str, words: list[str], k: int, threshold: float, clusters: int, show: int) -> None:
    used = {
        "nearest": ("--query", "--k", "--index"),
        "duplicates": ("--threshold", "--index"),
        "outliers": ("--k", "--index"),
        "clusters": ("--clusters", "--seed"),
    }
    given = {word.partition("=")[0] for word in words}
    for flag in ("--query", "--k", "--threshold", "--clusters", "--index"):
        if flag in given and flag not in used[kind]:
            others = " and ".join(other for other, flags in used.items() if flag in flags)
            raise UserError(f"{flag}: is an option of `search {others}`; `search {kind}` has {', '.join(used[kind])}")
    for flag, value in (("--k", k), ("--clusters", clusters), ("--show", show)):
        if value < 1:
            raise UserError(f"{flag} {value}: must be at least 1")
    if not -1 < threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: must be a cosine similarity, above -1 and at most 1")


def _find_features(rest: list[str]) -> tuple[Path | None, EmbeddingJob | None]:
    """Return the file of features, or the settings of the embedding that creates it."""
    if not rest:
        raise UserError("search: no features; name a file that `embed` wrote, or weights and --images")
    first = Path(rest[0])
    if rest[0].startswith("-") or first.suffix.lower() not in FORMATS or "--images" in rest or "--dataset" in rest:
        return None, compose_embedding(rest, prog="run.py search", needs_output=False)
    if len(rest) > 1:
        raise UserError(
            f"search: {rest[1]}: no such option{near_misses(rest[1], _create_parser()._option_string_actions)}"
        )
    if not first.expanduser().is_file():
        raise UserError(f"features {first}: no such file")
    return first.expanduser(), None
