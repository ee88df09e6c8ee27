"""Embed images: encode what is missing of an unfinished embedding, then write the file of features."""

from pathlib import Path

from rich.console import Console

from sslzoo.data.images import EncodedImages
from sslzoo.embedding.describe import create_identity, create_metadata
from sslzoo.embedding.encode import ShardEncoder
from sslzoo.embedding.images import cache_if_asked, choose_split, open_images, resolve_pixels
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.embedding.output import is_finished, join_shards, locate_skipped, write_output
from sslzoo.embedding.partial import Partial, Shard, create_shards
from sslzoo.embedding.tokens import PatchEncoder
from sslzoo.evaluation.encoder import create_encoder
from sslzoo.evaluation.transform import choose_transform
from sslzoo.runtime.distributed import state_sha256
from sslzoo.runtime.errors import UserError, join_names
from sslzoo.runtime.launch import (
    accelerator_precision,
    count_cores,
    create_accelerator,
    describe_device,
    prepare_cpu,
    run_on_main_process,
)
from sslzoo.runtime.progress import Steps, print_field, print_note, print_warning


def embed_images(job: EmbeddingJob, *, console: Console | None = None, temporary: bool = False) -> None:
    """Write the features of images to `job.output`; called by all processes.

    An unfinished embedding of the same images by the same weights continues. A finished one is left as it is.

    Args:
        console: for header and progress; None uses the terminal.
        temporary: whether the caller deletes the file, whose name is not printed then.

    Raises:
        UserError: a setting, the images or the weights are invalid, or the file exists with other content.
    """
    assert job.output is not None
    output = job.output.expanduser()
    prepare_cpu(job.threads)
    accelerator = create_accelerator(job.precision)
    device = describe_device(accelerator, job.precision)
    job = job.model_copy(update={"precision": accelerator_precision(accelerator)})
    console = Console(quiet=not accelerator.is_main_process) if console is None else console
    job = resolve_pixels(job)
    transform = choose_transform(job)
    images = open_images(job, transform)
    backbone, weights = create_encoder(job, transform)
    backbone.to(accelerator.device)
    identity = create_identity(job, state_sha256(backbone), images, transform)
    if run_on_main_process(accelerator, lambda: is_finished(output, identity)):
        print_note(console, f"{output}: contains these features already")
        return
    partial = Partial(output)
    run_on_main_process(accelerator, lambda: _open(partial, identity))
    try:
        available = cache_if_asked(images, job.dataset)
        encoder = ShardEncoder(
            PatchEncoder(backbone) if job.tokens else backbone,
            available,
            transform,
            accelerator,
            skipped=images.skipped,
            get_name=lambda number: _get_name(images, number),
            batch_size=job.batch_size,
            workers=min(job.dataset.workers, count_cores()),
        )
        shards = create_shards(len(available), job.batch_size, encoder.measure_row())
        numbers = run_on_main_process(accelerator, lambda: [s.number for s in shards if not partial.is_complete(s)])
        missing = [shards[number] for number in numbers]
        header = {"encoder": f"{type(backbone).__name__}, {job.backbone.name}", "weights": weights}
        header |= {"images": str(transform), "data": f"{images.name}, {_describe_count(shards, missing)}"}
        header |= {"device": device} if temporary else {"device": device, "output": str(output)}
        for label, text in header.items():
            print_field(console, label, text)
        steps = Steps(console, "features", sum(len(shard.positions) for shard in missing))
        encoder.encode(missing[accelerator.process_index :: accelerator.num_processes], partial, steps)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:  # the others do not wait for it, as writing a large file takes minutes
            root = images.folder or (Path.cwd() if job.images else None)
            metadata = create_metadata(job, identity, weights, transform, root, choose_split(job))
            rows, chunks = join_shards(partial, shards, images, available, root, metadata)
            write_output(output, rows, chunks, columns=job.columns)
            partial.delete()
            _print_skipped(console, rows.metadata["skipped"], None if temporary else locate_skipped(output))
            if not temporary:
                shape = " x ".join(f"{size:,}" for size in chunks.shape)
                print_note(console, f"{output}: {shape} float32, {output.stat().st_size / 1e6:,.1f} MB")
    finally:
        partial.close()
    accelerator.end_training()


def _open(partial: Partial, identity: dict[str, object]) -> None:
    try:
        partial.open(identity)
    except OSError as error:
        raise UserError(f"--output {partial.folder}: cannot be created: {error.strerror}") from error


def _describe_count(shards: list[Shard], missing: list[Shard]) -> str:
    total, left = (sum(len(shard.positions) for shard in part) for part in (shards, missing))
    return f"{total:,} images" + (f", {total - left:,} of which are encoded already" if left < total else "")


def _get_name(images: EncodedImages, number: int) -> str:
    """Return split and row of an image, and its path if it has one."""
    path = images.list_paths()[int((images.ids == number).argmax())].as_py()
    return f"{images.name}, row {number}" + (f" ({path})" if path else "")


def _print_skipped(console: Console, skipped: list[str], listed: Path | None) -> None:
    if skipped:
        count = "1 image is" if len(skipped) == 1 else f"{len(skipped):,} images are"
        where = "" if listed is None else f", listed in {listed}"
        print_warning(console, f"{count} skipped{where}: {join_names(skipped)}")
