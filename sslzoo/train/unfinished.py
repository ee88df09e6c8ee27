"""Unfinished runs with the requested settings."""

from pathlib import Path

from sslzoo.config.folders import slugify
from sslzoo.experiment.compose import compose
from sslzoo.experiment.format import require_resumable
from sslzoo.experiment.resume import require_same_settings
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.train.folder import RunFolder


def find_unfinished_run(experiment: Experiment) -> Path | None:
    """The run to resume: that in `run_folder`, else the newest unfinished one below `output`; None where there is none.

    Raises:
        UserError: the run in `run_folder` has other settings, or an older version wrote it.
    """
    if experiment.run_folder is not None:
        folder = RunFolder(experiment.run_folder)
        if not folder.config.is_file():
            return None
        require_resumable(folder.config)
        require_same_settings(folder.path, _read_settings(folder), experiment)
        return folder.path
    found = map(RunFolder, experiment.output.glob(f"{slugify(RunFolder.stem(experiment))}-*"))
    unfinished = [
        f for f in found if f.config.is_file() and not f.summary.exists() and _has_equal_settings(f, experiment)
    ]
    return max(unfinished, key=lambda folder: folder.config.stat().st_mtime).path if unfinished else None


def restore_auto_settings(folder: RunFolder, experiment: Experiment) -> Experiment:
    """The settings with `auto` resolved as in the run that is resumed."""
    before = _read_settings(folder)
    return experiment.resolve_auto(before.precision, before.compile_augmentations)


def _has_equal_settings(folder: RunFolder, experiment: Experiment) -> bool:
    try:
        require_resumable(folder.config)
        require_same_settings(folder.path, _read_settings(folder), experiment)
    except UserError:
        return False
    return True


def _read_settings(folder: RunFolder) -> Experiment:
    return compose(["--config", str(folder.config)])
