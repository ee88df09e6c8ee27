"""`run.py search`: load or compute features, search, and write tables and a page."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslzoo.config.folders import create_result_folder
from sslzoo.embedding.embeddings import Embeddings
from sslzoo.embedding.run import embed_images
from sslzoo.runtime.distributed import rank
from sslzoo.runtime.errors import UserError, escape_controls
from sslzoo.runtime.files import write_csv, write_json
from sslzoo.runtime.launch import prepare_cpu
from sslzoo.runtime.progress import Steps, print_field, print_note, show_stage
from sslzoo.search.find import find
from sslzoo.search.findings import Findings
from sslzoo.search.page import describe_collection, write_page
from sslzoo.search.queries import embed_queries
from sslzoo.search.request import Request


def search(request: Request, words: Sequence[str]) -> Path | None:
    """Search, print the first results, and write a folder with all of them.

    Args:
        words: of the command line, to repeat the search.

    Returns:
        The page; None on processes other than the main one.

    Raises:
        UserError: features, weights or images are invalid, or the folder cannot be written.
    """
    folder = request.folder
    if request.features is None:
        folder, features = _embed(request)
    else:
        features = request.features
    if rank() != 0:
        return None
    prepare_cpu(0)
    console = Console()
    collection = Embeddings.load(features)
    for label, text in {"features": str(features), "images": describe_collection(collection)}.items():
        print_field(console, label, text)
    queries = embed_queries(request.queries, collection, features, Console(quiet=True)) if request.queries else None
    with Steps(console, request.kind, len(collection if queries is None else queries)) as steps:
        findings = find(request, collection, queries, steps.advance)
    folder = _create_folder(folder, request, features)
    for name, rows in findings.tables.items():
        write_csv(folder / name, rows)
    write_json(folder / "result.json", _describe(request, features, collection, findings))
    page = folder / "index.html"
    command = shlex.join(["python", "run.py", "search", *words])
    with show_stage(console, "creating thumbnails"):
        write_page(page, findings, collection, queries, command)
    _print(console, findings, page)
    return page


def _embed(request: Request) -> tuple[Path | None, Path]:
    """Embed the images of a request; return the result folder, if it is known, and the file of features."""
    job = request.job
    assert job is not None
    folder = request.folder
    if job.output is None:
        if folder is None:
            raise UserError(
                "search: the images are embedded first; name the file of their features by --output FILE, or the "
                "folder of the result by --folder FOLDER"
            )
        folder.mkdir(parents=True, exist_ok=True)
        job = job.model_copy(update={"output": folder / "features.npz"})
    assert job.output is not None
    embed_images(job)
    return folder, job.output


def _create_folder(folder: Path | None, request: Request, features: Path) -> Path:
    try:
        if folder is None:
            return create_result_folder(Path("search"), f"{request.kind}-{features.stem}")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--folder {folder or 'search'}: cannot be created: {error.strerror}") from error
    return folder


def _describe(request: Request, features: Path, collection: Embeddings, findings: Findings) -> dict[str, Any]:
    return {
        "search": request.kind,
        "features": str(features),
        "images": len(collection),
        **findings.numbers,
        "weights_sha256": collection.metadata.get("weights_sha256"),
    }


def _print(console: Console, findings: Findings, page: Path) -> None:
    console.print()
    table = Table(box=None, pad_edge=False, title=findings.title, title_justify="left", title_style="bold")
    for number, name in enumerate(findings.columns):
        table.add_column(name, justify="left" if number < findings.text_columns else "right", overflow="fold")
    for row in findings.rows:
        table.add_row(*(Text(escape_controls(cell)) for cell in row))
    if findings.rows:
        console.print(table)
    for name, text in findings.summary.items():
        print_note(console, f"({name}: {text})")
    print_note(console, f"all results: {', '.join(str(page.parent / name) for name in findings.tables)}")
    print_note(console, f"page: {page}")
