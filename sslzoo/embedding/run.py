"""Embed images: encode what is missing of an unfinished embedding, then write the file of features."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate import Accelerator
from rich.console import Console

from sslzoo.data.images import EncodedImages, Images
from sslzoo.embedding.describe import create_identity, create_metadata, describe_change
from sslzoo.embedding.encode import ShardEncoder
from sslzoo.embedding.files import read_identity, write_features
from sslzoo.embedding.images import cache_if_asked, choose_split, list_relative_paths, open_images
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.embedding.partial import Partial, Shard, create_shards
from sslzoo.embedding.rows import Chunks, Rows
from sslzoo.embedding.tokens import PatchEncoder
from sslzoo.evaluation.encoder import create_encoder
from sslzoo.evaluation.transform import choose_transform
from sslzoo.runtime.distributed import state_sha256
from sslzoo.runtime.errors import UserError, escape_controls, join_names
from sslzoo.runtime.files import write_text
from sslzoo.runtime.launch import (
    accelerator_precision,
    claim_cores,
    count_cores,
    create_accelerator,
    describe_device,
    run_on_main_process,
)
from sslzoo.runtime.progress import Steps, print_field, print_note, print_warning


class Embedded(NamedTuple):
    """The result of an embedding."""

    shape: tuple[int, ...]
    """(N, D), or (N, P, D) with patches."""
    skipped: list[str]
    """Messages of undecodable images."""


def embed_images(
    job: EmbeddingJob, *, images: EncodedImages | None = None, console: Console | None = None, temporary: bool = False
) -> None:
    """Write the features of images to `job.output`; called by all processes.

    An unfinished embedding of the same images by the same weights continues. A finished one is left as it is.

    Args:
        images: images in memory; None opens those of the job.
        console: for header and progress; None uses the terminal.
        temporary: whether the caller deletes the file, whose name is not printed then.

    Raises:
        UserError: a setting, the images or the weights are invalid, or the file exists with other content.
    """
    assert job.output is not None
    output = job.output.expanduser()
    claim_cores(job.threads)
    accelerator = create_accelerator(job.precision)
    device = describe_device(accelerator, job.precision)
    job = job.model_copy(update={"precision": accelerator_precision(accelerator), "output": output})
    console = Console(quiet=not accelerator.is_main_process) if console is None else console
    transform = choose_transform(job)
    encoded = open_images(job, transform) if images is None else images
    root = encoded.folder or (Path.cwd() if job.images else None)
    backbone, weights = create_encoder(job, transform)
    backbone.to(accelerator.device)
    sha256 = state_sha256(backbone)
    identity = create_identity(job, sha256, encoded, transform)
    if run_on_main_process(accelerator, lambda: is_finished(output, identity)):
        print_note(console, f"{output}: contains these features already")
        return
    partial = Partial(output)
    run_on_main_process(accelerator, lambda: _open(partial, identity))
    try:
        available = cache_if_asked(encoded, job.dataset)
        encoder = ShardEncoder(
            PatchEncoder(backbone) if job.tokens else backbone,
            available,
            transform,
            accelerator,
            skipped=encoded.skipped,
            get_name=lambda number: _get_name(encoded, number),
            batch_size=job.batch_size,
            workers=min(job.dataset.workers, count_cores()),
        )
        shards = create_shards(len(available), job.batch_size, encoder.measure_row())
        missing = run_on_main_process(accelerator, lambda: [s.number for s in shards if not partial.is_complete(s)])
        data = f"{encoded.name}, {len(available):,} images"
        if len(missing) < len(shards):
            left = sum(len(shards[number].positions) for number in missing)
            data += f", {len(available) - left:,} of which are encoded already"
        header = {"encoder": f"{type(backbone).__name__}, {job.backbone.name}", "weights": weights}
        header |= {"images": str(transform), "data": data, "device": device}
        if not temporary:
            header["output"] = str(output)
        for label, text in header.items():
            print_field(console, label, text)
        todo = [shards[number] for number in missing]
        steps = Steps(console, "features", sum(len(shard.positions) for shard in todo))
        encoder.encode(todo[accelerator.process_index :: accelerator.num_processes], partial, steps)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            metadata = create_metadata(job, identity, sha256, weights, transform, root, choose_split(job))
            embedded = write_output(output, partial, shards, encoded, available, root, metadata, columns=job.columns)
            partial.delete()
            _print_skipped(console, output, embedded, temporary=temporary)
            if not temporary:
                shape = " x ".join(f"{size:,}" for size in embedded.shape)
                print_note(console, f"{output}: {shape} float32, {output.stat().st_size / 1e6:,.1f} MB")
    finally:
        partial.close()
    _leave(accelerator)


def is_finished(output: Path, identity: dict[str, object]) -> bool:
    """Whether a file contains the features of this identity; if so, what is left of writing it is deleted.

    Raises:
        UserError: the file contains something else.
    """
    if not output.exists():
        return False
    found = read_identity(output)
    if found is None:
        raise UserError(f"--output {output}: exists and is not a file of features; delete it or name another file")
    if change := describe_change(found, identity):
        raise UserError(f"--output {output}: contains features of {change}; delete it or name another file")
    Partial(output).delete()
    return True


def write_output(
    output: Path,
    partial: Partial,
    shards: list[Shard],
    encoded: EncodedImages,
    available: Images,
    root: Path | None,
    metadata: dict[str, object],
    *,
    columns: bool,
) -> Embedded:
    """Write the file of features from the shards; one chunk of them is in memory at a time.

    Args:
        encoded: the images with their paths.
        available: those of them that were encoded, including the undecodable ones found on the way.

    Raises:
        UserError: no image could be decoded, or more than may be skipped could not.
    """
    infos = [partial.read_info(shard) for shard in shards]
    skipped = [text for info in infos for text in info.skipped.values()]
    before = [text for text in encoded.skipped.messages if text not in set(skipped)]  # found when they were stored
    encoded.skipped.add(skipped)
    bad = np.array([number for info in infos for number in info.skipped], dtype=np.int64)
    kept = ~np.isin(available.ids, bad)
    if not kept.any():
        raise UserError(f"{skipped[0]}; no other image can be decoded either")
    ids = available.ids[kept]
    labels = available.labels[kept] if available.labels is not None and available.has_labels else None
    paths = list_relative_paths(encoded, root)
    if paths is not None:
        paths = paths.take(np.searchsorted(encoded.ids, ids))
    all_skipped = [*before, *skipped]
    shape = next(info.shape for info in infos if info.shape)
    rows = Rows(ids, paths, labels, available.classes, {**metadata, "skipped": all_skipped})
    chunks = Chunks((len(ids), *shape), partial.read_vectors(shards, shape))
    write_features(output, rows, chunks, columns=columns)
    listed = locate_skipped(output)
    if all_skipped:
        write_text(listed, "".join(f"{message}\n" for message in map(escape_controls, all_skipped)))
    else:
        listed.unlink(missing_ok=True)
    return Embedded(chunks.shape, all_skipped)


def locate_skipped(output: Path) -> Path:
    """Return the path of the list of skipped images."""
    return output.with_name(f"{output.name}.skipped.txt")


def _open(partial: Partial, identity: dict[str, object]) -> None:
    try:
        partial.open(identity)
    except OSError as error:
        raise UserError(f"--output {partial.folder}: cannot be created: {error.strerror}") from error


def _get_name(images: EncodedImages, number: int) -> str:
    """Return split and row of an image, and its path if it has one."""
    path = images.list_paths()[int(np.searchsorted(images.ids, number))].as_py()
    return f"{images.name}, row {number}" + (f" ({path})" if path else "")


def _print_skipped(console: Console, output: Path, embedded: Embedded, *, temporary: bool) -> None:
    if embedded.skipped:
        count = "1 image is" if len(embedded.skipped) == 1 else f"{len(embedded.skipped):,} images are"
        listed = "" if temporary else f", listed in {locate_skipped(output)}"
        print_warning(console, f"{count} skipped{listed}: {join_names(embedded.skipped)}")


def _leave(accelerator: Accelerator) -> None:
    """Let the other processes end; they do not wait for the main process, which may write a large file."""
    accelerator.end_training()
