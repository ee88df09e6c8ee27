"""Features of query images by the encoder of a collection."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sslzoo.data.folder import list_folder
from sslzoo.embedding.compose import restore_job
from sslzoo.embedding.embeddings import Embeddings
from sslzoo.embedding.images import list_files
from sslzoo.embedding.run import embed_images
from sslzoo.runtime.errors import UserError


def embed_queries(queries: Sequence[str], collection: Embeddings, features: Path, console: Console) -> Embeddings:
    """Embed query images by the weights and the transform of a collection.

    Args:
        queries: image files, folders, or text files with a path on each line.
        features: file of the collection, for error messages.

    Raises:
        UserError: a query does not exist, or the weights of the collection are missing or have changed.
    """
    if "settings" not in collection.metadata:
        raise UserError(
            f"features {features}: do not name their weights, so --query cannot be encoded; embed them again"
        )
    files = list_query_files(queries)
    job = restore_job(collection.metadata["settings"])
    dataset = job.dataset.model_copy(update={"path": None, "limit": None, "workers": 0, "cache": "none"})
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "queries.npz"
        update = {"images": tuple(files), "dataset": dataset, "split": None, "output": output, "columns": False}
        embed_images(job.model_copy(update=update), console=console, temporary=True)
        embedded = Embeddings.load(output, memory_map=False)
    if embedded.metadata["weights_sha256"] != collection.metadata.get("weights_sha256"):
        raise UserError(
            f"--query: {features} was written with other weights than those that {job.backbone.name} now has; embed "
            "the collection again"
        )
    return embedded


def list_query_files(queries: Sequence[str]) -> list[str]:
    """List the image files that queries name.

    Raises:
        UserError: a file or folder does not exist, or a folder contains no image.
    """
    files = []
    for query in queries:
        path = Path(query).expanduser()
        if path.is_dir():
            found = [str(path / name) for name in list_folder(path.absolute()).images]
            if not found:
                raise UserError(f"--query {query}: contains no images")
            files += found
        else:
            files += list_files([query])
    for file in files:
        if not Path(file).expanduser().is_file():
            raise UserError(f"--query {file}: no such file")
    return files
