"""Find settings that differ between runs, and check that the runs are comparable."""

from collections.abc import Iterable, Mapping, Sequence

from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.training.setup import flatten_settings

Settings = Mapping[str, str | int | float]
"""Values of settings by dotted name, such as `optimizer.lr`."""

NEUTRAL_SETTINGS = {
    "threads", "run_folder", "output", "log_every", "save_minutes", "save_every",
    "keep_checkpoints", "on_collapse", "tracker", "plugin",
    "dataset.cache", "dataset.cache_dir", "dataset.cache_gib", "dataset.workers",
}  # fmt: skip
"""Settings that do not affect results."""

COMPARED_PARTS = ("method", "target", "loss")
"""Parts in which rows of a table may differ."""

CUSTOM_DATASETS = ("folder", "custom", "memory")
"""Names of data sets whose images are identified by the path instead."""


def comparable_settings(experiment: Experiment) -> Settings:
    """Return all settings that can affect results, except the seed."""
    settings = dict(flatten_settings(experiment.settings()))
    neutral = NEUTRAL_SETTINGS if experiment.dataset.name in CUSTOM_DATASETS else NEUTRAL_SETTINGS | {"dataset.path"}
    return {name: value for name, value in settings.items() if name != "seed" and name not in neutral}


def find_differences(configs: Sequence[Settings]) -> list[str]:
    """Find the names of settings that differ; a setting that only some configs have counts as a difference."""
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if any(config.get(name) != configs[0].get(name) for config in configs)]


def find_mismatches(configs: Sequence[Settings], axes: Iterable[str] = ()) -> list[str]:
    """Find differing settings that must be equal in all rows of a table.

    Settings of augmentations must be equal only if all rows use the augmentation.

    Args:
        axes: settings in which rows may differ, or parts such as `optimizer`.
    """
    allowed = [*COMPARED_PARTS, *(axis.replace("-", "_") for axis in axes)]
    names = [name for name in find_differences(configs) if not any(is_part_of(name, part) for part in allowed)]
    shared = {name for name in names if all(name in config for config in configs)}
    return [name for name in names if not is_part_of(name, "augmentations") or name in shared]


def is_part_of(name: str, part: str) -> bool:
    """Whether a setting equals `part` or belongs to it."""
    return name == part or name.startswith(f"{part}.")


def check_agreement(configs: Mapping[str, Settings], axes: Iterable[str] = ()) -> None:
    """Check that rows, given by label or run folder, can be compared in one table.

    Raises:
        UserError: a setting differs that must be equal.
    """
    axes = tuple(axes)
    (first, reference), *others = configs.items()
    for label, config in others:
        names = find_mismatches([reference, config], axes)
        if names:
            name = names[0]
            more = f" (and {len(names) - 1} more settings)" if len(names) > 1 else ""
            raise UserError(
                f"{label}: {name} is {format_setting(config.get(name))}, and "
                f"{format_setting(reference.get(name))} in {first}{more}; "
                f"it must be equal in all rows unless --vary names it or --mixed is given"
            )


def format_setting(value: object) -> str:
    """Format the value of a setting; `—` if the setting does not exist."""
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.strip("[]").replace("'", "") if text.startswith("[") else text
