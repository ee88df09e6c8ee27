"""Compose the config of a resumed run."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sslzoo.experiment.compose import compose
from sslzoo.experiment.format import require_resumable
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError

CHANGEABLE: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            "threads", "save_minutes", "save_every", "keep_checkpoints", "log_every", "on_collapse", "run_folder",
            "output", "plugin",
        ),
        True,
    ),
    "dataset": {"cache", "cache_gib", "cache_dir", "workers"},
}  # fmt: skip
"""Settings that may change when a run is resumed, because they do not affect its result, except that `threads` changes
the order of floating-point sums and so the last digits. The path of a data set that is not a stream may change as well,
because checkpoints identify its images. A plug-in may be moved."""


def compose_resumed(
    run: Path,
    arguments: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    *,
    anyway: bool = False,
    prog: str = "run.py",
) -> Experiment:
    """Compose the config of a run to be resumed, with `auto` resolved as before.

    Args:
        run: folder of the run.
        arguments: further flags of the command line.
        settings: further settings in Python, see `compose`.
        anyway: whether flags and settings may change any setting.
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
    requested = compose(["--config", str(config), *arguments], settings, prog=prog)
    saved = compose(["--config", str(config)], prog=prog)
    if not anyway:
        require_same_settings(run, saved, requested)
    return requested.restore_auto(saved)


def require_same_settings(run: Path, saved: Experiment, requested: Experiment) -> None:
    """Check that a resumed run keeps its fixed settings; `auto` and unset measurements equal any saved value.

    Raises:
        UserError: another setting differs.
    """
    requested = requested.restore_auto(saved)
    for change in find_changed_settings(dump_fixed_settings(saved), dump_fixed_settings(requested)):
        raise UserError(
            f"--resume {run}: a resumed run keeps its settings, but {change}; --config {run / 'config.yaml'} starts a "
            "new run from its settings, --resume-anyway continues this one with the change"
        )


def dump_fixed_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that a resumed run keeps, as JSON values."""
    settings = experiment.model_dump(mode="json", exclude=dict(CHANGEABLE))
    if not experiment.dataset.streaming:
        del settings["dataset"]["path"]
    return settings


def find_changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Describe each setting that differs, by its dotted name: `method.queue_size was 4096 and is now 8192`."""
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from find_changed_settings(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} was {old} and is now {new}"
