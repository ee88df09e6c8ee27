"""The part of a run's summary.json that comparisons read, validated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from sslzoo.config.schema import SettingError
from sslzoo.runtime.errors import UserError


class Part(BaseModel):
    """A mapping with fields of known types, and any others."""

    model_config = ConfigDict(extra="allow")


class Score(Part):
    """Result of a classifier."""

    accuracy: Annotated[FiniteFloat, Field(ge=0, le=1)]


class EncoderScores(Part):
    """Results of an encoder."""

    knn: Score | None = None
    linear: Score | None = None
    draws: PositiveInt | None = None


class PeakMemory(Part):
    """Bytes of memory."""

    host: NonNegativeInt | None = None
    device: NonNegativeInt | None = None


class Health(Part):
    """Last verdict on the health of the training."""

    verdict: str
    description: str


class Summary(Part):
    """Content of summary.json."""

    health: Health | None = None
    changes: list[str] = []
    """Settings and data that changed during the training."""
    test: dict[str, EncoderScores] = {}
    peak_memory: PeakMemory = PeakMemory()
    train_seconds: Annotated[FiniteFloat, Field(ge=0)] | None = None
    images_per_second: Annotated[FiniteFloat, Field(ge=0)] | None = None
    processes: PositiveInt = 1
    threads: PositiveInt = 1


def validate_summary(path: Path, content: Mapping[str, Any]) -> None:
    """Check the content of a summary.json.

    Raises:
        UserError: a value that comparisons read has the wrong type or is out of range.
    """
    try:
        Summary.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: is damaged: {SettingError.from_validation_error(error, Summary)}") from None
