"""Shorten a warm-up that the user did not choose and that is too long for the training."""

from typing import NamedTuple

from sslzoo.modules.optim import ScheduleConfig
from sslzoo.runtime.errors import UserError

LARGEST_SHARE = 0.5
"""Largest share of training that the warm-up of a shipped config may take."""
SHORTENED_SHARE = 0.1
"""Share of training that a shortened warm-up takes."""


class FittedSchedule(NamedTuple):
    """A schedule whose warm-up is shorter than training."""

    schedule: ScheduleConfig
    note: str | None
    """A line for the user if the warm-up was shortened."""


def fit_warmup(schedule: ScheduleConfig, epochs: int, *, group: str, chosen: bool) -> FittedSchedule:
    """Shorten a warm-up of over half of the training to a tenth of it, unless the user chose it.

    Args:
        group: name of the schedule's settings, such as `schedule`.
        chosen: whether a flag or a config file of the user sets the warm-up.

    Raises:
        UserError: the user chose a warm-up that is as long as training.
    """
    warmup = schedule.warmup_epochs
    if chosen and warmup >= epochs:
        raise UserError(
            f"{group}.warmup_epochs = {warmup:g}: warm-up must be shorter than training, {epochs} "
            f"{'epoch' if epochs == 1 else 'epochs'}"
        )
    if chosen or warmup <= LARGEST_SHARE * epochs:
        return FittedSchedule(schedule, None)
    shortened = schedule.model_copy(update={"warmup_epochs": SHORTENED_SHARE * epochs})
    flag = f"--{group}.warmup-epochs".replace("_", "-")
    note = (
        f"{shortened.warmup_epochs:g} epochs, {100 * SHORTENED_SHARE:g} % of training, because the shipped "
        f"{warmup:g} epochs exceed {100 * LARGEST_SHARE:g} % of it ({flag} chooses another)"
    )
    return FittedSchedule(shortened, note)
