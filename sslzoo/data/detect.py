"""Detect the channels and the type of the images of a data set."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, Image

from sslzoo.data.arrays import MissingReader, UnknownLayout
from sslzoo.data.config import DatasetConfig
from sslzoo.data.decode import detect_pixels
from sslzoo.data.pixels import Dtype
from sslzoo.runtime.errors import UserError

TRIED = 8
"""Images that are tried until one can be decoded."""


def detect_images(config: DatasetConfig, table: Dataset, column: str, folder: Path | None = None) -> DatasetConfig:
    """Set the channels and the type of the images of a table where the settings leave them open.

    The first image that can be decoded decides. If none can, they are 3 channels of uint8, unless it is for lack of
    channels in the settings.

    Args:
        folder: see `open_file`.

    Raises:
        UserError: an image needs a package that is not installed, its shape does not show its channels, or the settings
            do not fit them.
    """
    dtype = config.known_dtype
    if config.channels and dtype:
        return config.fill_defaults(config.channels, dtype)
    cells = table.select_columns([column]).cast_column(column, Image(decode=False))
    found = _detect((cells[row][column] for row in range(min(TRIED, len(cells)))), config.channels, folder)
    if dtype == "uint8" != found[1]:
        found = 3, "uint8"
    return config.fill_defaults(config.channels or found[0], dtype or found[1])


def _detect(cells: Iterable[Any], channels: int, folder: Path | None) -> tuple[int, Dtype]:
    unknown: list[str] = []
    for cell in cells:
        name = cell["path"] or "the first image"
        try:
            return detect_pixels(cell, channels, folder)
        except MissingReader as missing:
            raise UserError(f"{name}: {missing}") from None
        except UnknownLayout as error:
            unknown.append(f"{name}: {error}")
        except Exception:  # decoders fail in many ways on damaged files, which are reported when all are decoded
            continue
    if unknown and not channels:
        raise UserError(unknown[0])
    return channels or 3, "uint8"
