"""Which settings of runs differ, and whether they may for a table to mean anything."""

from collections.abc import Iterable, Mapping, Sequence

from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.train.setup import flatten

Settings = Mapping[str, str | int | float]
"""Settings by their dotted name, as `optimizer.lr`."""

NEUTRAL = {
    "threads", "run_folder", "output", "log_every", "save_minutes", "save_every",
    "keep_checkpoints", "tracker", "plugin",
    "dataset.cache", "dataset.cache_dir", "dataset.cache_gib", "dataset.workers",
}  # fmt: skip
"""Settings that change no result."""

COMPARED = ("method", "target", "loss")
"""Parts that rows of a table may differ in."""

UNNAMED = ("folder", "custom")
"""Names of data sets that do not identify the images; there the path does."""


def settings_of(experiment: Experiment) -> Settings:
    """All settings that can change a result, but for the seed."""
    settings = dict(flatten(experiment.settings()))
    neutral = NEUTRAL if experiment.dataset.name in UNNAMED else NEUTRAL | {"dataset.path"}
    return {name: value for name, value in settings.items() if name != "seed" and name not in neutral}


def find_differences(configs: Sequence[Settings]) -> list[str]:
    """Names of the settings that are not the same in all; one that a config does not have counts as a difference."""
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if any(config.get(name) != configs[0].get(name) for config in configs)]


def find_mismatches(configs: Sequence[Settings], axes: Iterable[str] = ()) -> list[str]:
    """Differing settings that the rows of a table must have in common; of augmentations, those that all rows use.

    Args:
        axes: settings in which rows may differ, or parts such as `optimizer`.
    """
    free = [*COMPARED, *(axis.replace("-", "_") for axis in axes)]
    names = [name for name in find_differences(configs) if not any(belongs(name, part) for part in free)]
    return [name for name in names if not belongs(name, "augmentations") or all(name in config for config in configs)]


def belongs(name: str, part: str) -> bool:
    """Whether a setting is that setting, or one of that part."""
    return name == part or name.startswith(f"{part}.")


def check_agreement(configs: Mapping[str, Settings], axes: Iterable[str] = ()) -> None:
    """Whether these rows, by their label or run folder, belong in one table.

    Raises:
        UserError: a setting differs that must not.
    """
    axes = tuple(axes)
    (first, reference), *others = configs.items()
    for label, config in others:
        faults = find_mismatches([reference, config], axes)
        if faults:
            name = faults[0]
            more = f" (and {len(faults) - 1} more settings)" if len(faults) > 1 else ""
            raise UserError(
                f"{label}: {name} is {format_setting(config.get(name))}, and "
                f"{format_setting(reference.get(name))} in {first}{more}; "
                f"rows of one table have it in common, unless --vary names it or --mixed is given"
            )


def format_setting(value: object) -> str:
    """A setting's value, `—` where there is no such setting."""
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.strip("[]").replace("'", "") if text.startswith("[") else text
