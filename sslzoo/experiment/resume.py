"""Compose the config of a resumed run."""

from collections.abc import Sequence
from pathlib import Path

from sslzoo.experiment.compose import compose
from sslzoo.experiment.format import require_resumable
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError

CHANGEABLE = {"threads", "save_minutes", "save_every", "keep_checkpoints", "log_every", "run_folder", "output"}
"""Settings that may change when a run is resumed, because they do not affect its result."""


def compose_resumed(run: Path, arguments: Sequence[str], *, prog: str = "run.py") -> Experiment:
    """Compose the config of a run to be resumed, with `auto` resolved as before.

    Args:
        run: folder of the run.
        arguments: further flags of the command line.
        prog: name of the program in the text of `--help`.

    Raises:
        UserError: the folder is not a run, an older version wrote it, or the flags change a setting that affects the
            result.
        SystemExit: after `--help`.
    """
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"--resume {run}: not a run folder (it has no config.yaml)")
    require_resumable(config)
    requested = compose(["--config", str(config), *arguments], prog=prog)
    saved = compose(["--config", str(config)], prog=prog)
    require_same_settings(run, saved, requested)
    return requested.resolve_auto(saved.precision, saved.compile_augmentations)


def require_same_settings(run: Path, saved: Experiment, requested: Experiment) -> None:
    """Check that a resumed run keeps all settings except `CHANGEABLE` ones; `auto` equals any saved value.

    Raises:
        UserError: another setting differs.
    """
    settings = saved.model_dump()
    requested = requested.resolve_auto(saved.precision, saved.compile_augmentations)
    for setting, value in requested.model_dump(exclude=CHANGEABLE).items():
        if value != settings[setting]:
            raise UserError(
                f"--resume {run}: a resumed run keeps its settings, but {setting} was {settings[setting]} and is now "
                f"{value}; --config {run / 'config.yaml'} starts a new run from its settings"
            )
