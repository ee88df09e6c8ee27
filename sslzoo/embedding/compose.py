"""Compose the settings of an embedding from weights, images and flags."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sslzoo.config.arguments import ArgumentParser
from sslzoo.config.layers import Layer
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.embedding.names import check_output
from sslzoo.evaluation.compose import (
    add_names,
    compose_layers,
    create_job,
    prefer_own_transform,
    read_named_layers,
    select_own_layers,
)
from sslzoo.evaluation.weights import select_weights
from sslzoo.experiment.settings import PYTHON, find_part_names, nest_settings
from sslzoo.runtime.errors import UserError

HELP = """
  run.py embed WEIGHTS --images FOLDER --output FILE             a folder of images
  run.py embed WEIGHTS --images a.jpg b.jpg --output FILE        image files
  run.py embed WEIGHTS --images list.txt --output FILE           a text file with a path on each line
  run.py embed WEIGHTS --dataset D --split S --output FILE       a split of a data set

  WEIGHTS is a run folder, a name of timm (resnet50.a1_in1k), hf-hub:owner/model, or a file with --backbone NAME;
  the flags of `evaluate` name them as well: --backbone NAME --pretrained, --checkpoint FILE, --untrained.

  --dataset NAME  --backbone NAME  --config FILE-OR-NAME ...  --plugin FILE ...
"""

EVERY_IMAGE: Layer = {"dataset": {"max_skipped": None, "cache": "none"}}
"""Undecodable images are skipped and listed, and images are decoded as they are read: each is needed once."""

FOLDER: Layer = {"dataset": {"unlabeled": False, "short_side": None}}
"""The folders of `--images` are classes if they all lie equally deep; images shrink to the size of the transform."""


def compose_embedding(
    arguments: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    *,
    prog: str = "run.py embed",
    needs_output: bool = True,
) -> EmbeddingJob:
    """Compose the settings of an embedding.

    Args:
        arguments: words of the command line.
        settings: further settings in Python, such as `{"dataset": "cifar10", "batch_size": 64}`.
        prog: name of the program in the text of `--help`.
        needs_output: whether `--output` must be given.

    Raises:
        UserError: a name or setting is unknown, a value is invalid, or weights, images or output are missing.
        SystemExit: after `--help`.
    """
    named, flags = _parse_names(arguments)
    values = nest_settings(settings or {})
    named.dataset = named.dataset or find_part_names(values).get("dataset")
    helping = "--help" in flags or "-h" in flags
    if named.weights is not None:
        _add_weights(named)
    if not named.images and named.dataset is None and named.run is None and not named.config and not helping:
        raise UserError("embed: no images; name a folder, files or a list by --images, or a data set by --dataset")
    images = EVERY_IMAGE
    if named.images:
        if named.dataset is not None:
            raise UserError(f"--images {named.images[0]}: cannot be combined with --dataset {named.dataset}")
        named.dataset = "folder"
        folder = named.images[0] if len(named.images) == 1 and Path(named.images[0]).expanduser().is_dir() else None
        images = {"images": named.images, "dataset": {**EVERY_IMAGE["dataset"], **FOLDER["dataset"], "path": folder}}
    layers = compose_layers(named.run, named, images, command="embed")
    job = create_job(EmbeddingJob, [*layers, values], flags, prog, f"{EmbeddingJob.__doc__}\n{HELP}", command="embed")
    own = select_own_layers([*read_named_layers(named), (PYTHON, values)])
    job = prefer_own_transform(job, own, flags)
    _check(job, needs_output=needs_output)
    return job


def restore_job(settings: Layer) -> EmbeddingJob:
    """Create the settings that the metadata of a file of features contain.

    Raises:
        UserError: they are invalid.
    """
    return create_job(EmbeddingJob, [settings], [], "run.py embed", "", command="embed")


def _parse_names(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    words = list(arguments)
    parser = ArgumentParser(add_help=False)
    add_names(parser)
    parser.add_argument("--images", nargs="+", action="extend", default=[])
    parser.set_defaults(run=None, weights=words.pop(0) if words and not words[0].startswith("-") else None)
    return parser.parse_known_args(words)


def _add_weights(named: argparse.Namespace) -> None:
    """Replace the positional weights by the flags that name them."""
    given = [flag for flag in ("pretrained", "checkpoint") if getattr(named, flag)]
    if given:
        raise UserError(f"--{given[0]}: cannot be combined with the weights {named.weights}")
    words = select_weights(named.weights, named.backbone)
    if not words[0].startswith("-"):
        named.run = Path(words[0])
        return
    parser = ArgumentParser(add_help=False)
    add_names(parser)
    found = parser.parse_args(words)
    named.backbone, named.pretrained, named.checkpoint = found.backbone, found.pretrained, found.checkpoint


def _check(job: EmbeddingJob, *, needs_output: bool) -> None:
    if job.output is None and needs_output:
        raise UserError("embed: no --output; name a file that ends in .npz, .parquet or .faiss")
    if job.output is not None:
        check_output(job.output, tokens=job.tokens, columns=job.columns)
    if job.dataset.streaming:
        raise UserError("--dataset.streaming true: embed reads a split as a table; leave it out")
    if job.images and job.dataset.path not in (None, job.images[0]):
        raise UserError(f"--dataset.path {job.dataset.path}: cannot be combined with --images {job.images[0]}")
    if job.split is not None and job.images and job.dataset.path is None:
        raise UserError(f"--split {job.split}: a list of files has no splits")
