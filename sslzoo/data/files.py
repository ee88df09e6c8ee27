"""Image files that are listed one by one."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from datasets import Dataset, DatasetInfo, Features, Image

from sslzoo.data.config import DatasetConfig
from sslzoo.data.detect import detect_images
from sslzoo.data.folder import create_cells
from sslzoo.data.images import EncodedImages
from sslzoo.data.skipped import Skipped
from sslzoo.runtime.errors import UserError


def load_files(files: Sequence[str], config: DatasetConfig) -> EncodedImages:
    """Load image files in the given order, without decoding them and without labels.

    Raises:
        UserError: a file does not exist, or its name is not valid UTF-8.
    """
    state = hashlib.sha256()
    absolute = []
    for file in files:
        path = Path(file).expanduser().absolute()
        try:
            if not path.is_file():
                raise FileNotFoundError
            stat = path.stat()
            state.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        except UnicodeEncodeError:
            name = file.encode(errors="backslashreplace").decode()
            raise UserError(f"--images: the file name {name} is not valid UTF-8; rename it") from None
        except OSError:
            raise UserError(f"--images {file}: no such file") from None
        absolute.append(os.path.normpath(path))
    features = Features(image=Image())
    table = pa.table({"image": create_cells(pa.array(absolute, pa.string()))}).cast(features.arrow_schema)
    rows = Dataset(table, DatasetInfo(features=features), fingerprint=state.hexdigest()[:32])
    config = detect_images(config, rows, "image")
    return EncodedImages(
        rows,
        "image",
        ids=np.arange(len(files)),
        labels=None,
        classes=[],
        channels=config.channels,
        dtype=config.pixel_dtype,
        short_side=config.short_side,
        name="--images",
        skipped=Skipped(config.max_skipped),
    )


def read_list(file: Path) -> list[str]:
    """Read the paths in a text file, one per line; empty lines are ignored.

    Raises:
        UserError: the file cannot be read as text, or contains no path.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--images {file}: cannot be read: {' '.join(str(error).split())}") from None
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise UserError(f"--images {file}: contains no path; write one per line")
    return paths
