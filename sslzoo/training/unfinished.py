"""Find an unfinished run with the requested settings."""

from pathlib import Path

from sslzoo.config.folders import slugify
from sslzoo.experiment.compose import compose
from sslzoo.experiment.format import require_resumable
from sslzoo.experiment.resume import require_same_settings
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.training.folder import RunFolder


def find_unfinished_run(experiment: Experiment, *, anyway: bool = False) -> Path | None:
    """Find the run to resume: the one in `run_folder` if that is set, otherwise the newest unfinished one in `output`.

    Args:
        anyway: whether the run in `run_folder` may have other settings.

    Returns:
        The folder; None if there is no such run.

    Raises:
        UserError: the run in `run_folder` has other settings, or was written by an older version.
    """
    if experiment.run_folder is not None:
        folder = RunFolder(experiment.run_folder)
        if not folder.config.is_file():
            return None
        require_resumable(folder.config)
        if not anyway:
            require_same_settings(folder.path, _read_settings(folder), experiment)
        return folder.path
    folders = map(RunFolder, experiment.output.glob(f"{slugify(RunFolder.name_prefix(experiment))}-*"))
    unfinished = [
        f for f in folders if f.config.is_file() and not f.summary.exists() and _has_equal_settings(f, experiment)
    ]
    return max(unfinished, key=lambda folder: folder.config.stat().st_mtime).path if unfinished else None


def restore_auto_settings(folder: RunFolder, experiment: Experiment) -> Experiment:
    """Resolve `auto` and measured settings to the values of the run that is resumed."""
    return experiment.restore_auto(_read_settings(folder))


def _has_equal_settings(folder: RunFolder, experiment: Experiment) -> bool:
    try:
        require_resumable(folder.config)
        require_same_settings(folder.path, _read_settings(folder), experiment)
    except UserError:
        return False
    return True


def _read_settings(folder: RunFolder) -> Experiment:
    return compose(["--config", str(folder.config)])
