"""Command line: dispatches to the commands."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from sslzoo.config.arguments import ArgumentParser
from sslzoo.config.trust import trust_all_plugins
from sslzoo.runtime.errors import UserError, escape_controls, near_misses


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; without one, `pretrain`.

    Returns:
        The exit status: 0; 1 if memory ran out or another process of the run died; 2 for invalid input; 128 + n if
        signal n stopped the run.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if "--trust-plugins" in words:
        words.remove("--trust-plugins")
        trust_all_plugins()
    command = "pretrain" if not words or words[0].startswith("-") else words.pop(0)
    try:
        if command not in COMMANDS:
            raise UserError(f"{command}: no such command{near_misses(command, COMMANDS)}")
        return COMMANDS[command](words)
    except BrokenPipeError:  # the reader closed the pipe, as in `run.py list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except UserError as error:
        print(f"error: {escape_controls(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        from sslzoo.runtime.launch import summarize_error

        line = summarize_error(error, MEMORY_REMEDIES.get(command, TRAINING_REMEDIES))
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1


def pretrain(words: list[str]) -> int:
    """Train an encoder and evaluate it."""
    own = ArgumentParser(add_help=False)
    own.add_argument("--print-config", action="store_true")
    own.add_argument("--resume", type=lambda word: word if word == "auto" else Path(word))
    own.add_argument("--resume-anyway", action="store_true")
    asked, flags = own.parse_known_args(words)

    from sslzoo.experiment.compose import compose
    from sslzoo.experiment.resume import compose_resumed

    if asked.resume_anyway and asked.resume is None:
        raise UserError("--resume-anyway: names no run; add --resume RUN or --resume auto")
    if isinstance(asked.resume, Path):
        experiment = compose_resumed(asked.resume, flags, anyway=asked.resume_anyway)
    else:
        experiment = compose(flags)
    if asked.print_config:
        print(experiment.as_yaml(), end="")
        return 0

    from sslzoo.runtime.distributed import rank
    from sslzoo.training.run import pretrain as run
    from sslzoo.training.stop import Interrupted

    try:
        run(experiment, asked.resume, anyway=asked.resume_anyway)
    except Interrupted as stopped:
        if rank() == 0:
            print(stopped, file=sys.stderr)
        return stopped.code
    return 0


def evaluate(words: list[str]) -> int:
    """Evaluate a trained encoder: of a run, of timm, or from a file."""
    from sslzoo.evaluation.compose import compose_jobs

    jobs = compose_jobs(words)

    from sslzoo.evaluation.run import evaluate as run

    try:
        run(jobs)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to resume from saved features and probes", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def embed(words: list[str]) -> int:
    """Write the features of images to a file, by any encoder that `evaluate` accepts."""
    from sslzoo.embedding.compose import compose_embedding

    job = compose_embedding(words)

    from sslzoo.embedding.run import embed_images

    try:
        embed_images(job)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to continue from the saved features", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def search(words: list[str]) -> int:
    """Search in a collection of images by their features: nearest, near-duplicates, outliers, clusters."""
    from sslzoo.search.request import parse_request

    request = parse_request(words)

    from sslzoo.search.command import search as run

    run(request, words)
    return 0


def list_parts(words: list[str]) -> int:
    """List methods, targets, losses and data sets."""
    from sslzoo.config.registry import load_plugin
    from sslzoo.report.pairs import create_pairs_table, format_pairs_markdown
    from sslzoo.report.parts import create_parts_table

    parser = ArgumentParser(prog="run.py list", description=list_parts.__doc__)
    parser.add_argument("--plugin", nargs="+", action="extend", default=[], metavar="FILE", help=PLUGIN)
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="show which targets are compatible with which methods, and the loss of each pair",
    )
    parser.add_argument("--markdown", action="store_true", help="print --pairs as Markdown")
    asked = parser.parse_args(words)
    for plugin in asked.plugin:
        load_plugin(plugin)
    if asked.markdown:
        print(format_pairs_markdown(), end="")
    else:
        table = create_pairs_table() if asked.pairs else create_parts_table()
        Console(markup=False).print(table)  # docstrings may contain brackets
    return 0


def describe(words: list[str]) -> int:
    """Show the settings, defaults and paper of a part."""
    from sslzoo.config.registry import load_plugin
    from sslzoo.report.parts import describe_part

    parser = ArgumentParser(prog="run.py describe", description=describe.__doc__)
    parser.add_argument("name", help="name of a part, as shown by `list`")
    parser.add_argument("--plugin", nargs="+", action="extend", default=[], metavar="FILE", help=PLUGIN)
    asked = parser.parse_args(words)
    for plugin in asked.plugin:
        load_plugin(plugin)
    Console(markup=False).print(describe_part(asked.name))
    return 0


def compare(words: list[str]) -> int:
    """Train methods with several seeds and write a page that compares them."""
    from sslzoo.comparison.request import parse_request

    request = parse_request(words)

    from sslzoo.comparison.command import compare as run

    return run(request)


def check(words: list[str]) -> int:
    """Check custom or built-in parts: shapes, gradients, precision, order, state, two processes, collapse."""
    from sslzoo.check.request import parse_request

    asked = parse_request(words)

    from sslzoo.check.command import check as run

    return run(asked)


def new(words: list[str]) -> int:
    """Write the template of a custom part, and its test."""
    from sslzoo.scaffold.command import new as run

    return run(words)


def plan(words: list[str]) -> int:
    """Estimate time, memory and bottleneck of a run, and measure what would make it faster."""
    from sslzoo.plan.request import parse_request

    asked, experiment = parse_request(words)

    from sslzoo.plan.command import plan as run

    return run(asked, experiment)


def augmentations(words: list[str]) -> int:
    """Draw the views that a method would be trained on."""
    from sslzoo.preview.request import parse_request

    asked, experiment = parse_request(words)

    from sslzoo.preview.command import preview

    return preview(asked, experiment)


def card(words: list[str]) -> int:
    """Write the backbone of a run in timm's layout, with a model card."""
    from sslzoo.sharing.request import parse_card

    asked = parse_card(words)

    from sslzoo.sharing.command import write_card

    return write_card(asked)


def push(words: list[str]) -> int:
    """Upload the backbone of a run to the Hugging Face Hub."""
    from sslzoo.sharing.request import parse_push

    asked = parse_push(words)

    from sslzoo.sharing.command import push as run

    return run(asked)


PLUGIN = "files or modules that register custom parts"

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "pretrain": pretrain,
    "evaluate": evaluate,
    "embed": embed,
    "search": search,
    "compare": compare,
    "list": list_parts,
    "describe": describe,
    "plan": plan,
    "augmentations": augmentations,
    "card": card,
    "push": push,
    "check": check,
    "new": new,
}

TRAINING_REMEDIES = (
    "--precision bf16, a smaller --batch-size, --accumulate (the same batch in parts) or a shorter queue"
)
MEMORY_REMEDIES = {
    "evaluate": "--precision bf16 or a smaller --batch-size",
    "embed": "--precision bf16 or a smaller --batch-size",
    "search": "a file of fewer images, or of features of fewer dimensions,",
}
"""What reduces the memory use of a command; `TRAINING_REMEDIES` for the others."""
