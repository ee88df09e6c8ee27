"""`run.py card` and `run.py push`."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import write_text
from sslzoo.runtime.progress import print_field, print_note
from sslzoo.sharing.card import UNNAMED, card_path, render_card
from sslzoo.sharing.finished import FinishedRun, read_finished_run
from sslzoo.sharing.hub_folder import write_hub_folder
from sslzoo.sharing.upload import upload_folder


def write_card(asked: Namespace) -> int:
    """Write the folder `hub` of a run, with its card.

    Returns:
        The exit status, 0.

    Raises:
        UserError: the run is not finished, a card exists, or a file cannot be written.
    """
    run = read_finished_run(asked.run, "card")
    if card_path(run).exists() and not asked.overwrite:
        raise UserError(f"card {asked.run}: {card_path(run)} exists; --overwrite replaces it, with its edits")
    folder = create_folder(run, asked.license)
    console = Console()
    print_field(console, "folder", str(folder))
    print_field(console, "card", str(card_path(run)))
    print_field(console, "load", f'timm.create_model("local-dir:{folder}", pretrained=True)')
    if asked.license is None:
        print_field(console, "license", "not stated (--license)")
    print_note(console, "read the card before you share it: it contains the command of the run, with its paths")
    return 0


def push(asked: Namespace) -> int:
    """Upload the folder `hub` of a run, which is written first if it has no card.

    Returns:
        The exit status, 0.

    Raises:
        UserError: the run is not finished, a file cannot be written, or the Hub refuses the upload.
    """
    run = read_finished_run(asked.run, "push")
    if asked.license is not None and card_path(run).exists():
        raise UserError(f"--license {asked.license}: {card_path(run)} exists; edit its line `license:` instead")
    folder = card_path(run).parent if card_path(run).exists() else create_folder(run, asked.license)
    name_repository(card_path(run), asked.repository)
    url = upload_folder(folder, asked.repository, private=asked.private, message=asked.message)
    console = Console()
    print_field(console, "uploaded", url)
    print_field(console, "load", f'timm.create_model("hf-hub:{asked.repository}", pretrained=True)')
    return 0


def create_folder(run: FinishedRun, license: str | None) -> Path:
    """Write weights, config, plots and card.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        folder = write_hub_folder(run)
        write_text(card_path(run), render_card(run, license=license))
    except OSError as error:
        raise UserError(f"{run.folder.path}: cannot be written: {error.strerror or error}") from error
    return folder


def name_repository(card: Path, repository: str) -> None:
    """Replace the placeholder in a card by the name of the repository."""
    text = card.read_text(encoding="utf-8")
    if UNNAMED in text:
        write_text(card, text.replace(UNNAMED, repository))
