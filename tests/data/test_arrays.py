"""Images of other channels or more bits than 8-bit RGB keep their numbers."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from sslzoo.data.arrays import MissingReader, UnknownLayout, find_layout
from sslzoo.data.config import DatasetConfig
from sslzoo.data.decode import decode, detect_pixels
from sslzoo.data.detect import detect_images
from sslzoo.data.pixels import Pixels
from sslzoo.runtime.errors import UserError


def cell_of(content: bytes) -> dict[str, object]:
    return {"bytes": content, "path": None}


def encode_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def encode_image(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def bands() -> Pixels:
    return np.random.default_rng(0).integers(0, 65536, (13, 20, 30)).astype(np.uint16)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_npy_keeps_numbers_and_type_with_channels_first_or_last(bands: Pixels, last: bool, dtype: str) -> None:
    array = bands.astype(dtype)
    content = encode_npy(array.transpose(1, 2, 0) if last else array)
    assert detect_pixels(cell_of(content)) == (13, dtype)
    decoded = decode(cell_of(content), channels=13, dtype=dtype)
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize(
    ("shape", "channels", "axes"),
    [((20, 30), 0, None), ((4, 20, 30), 0, (0, 1, 2)), ((20, 30, 4), 0, (2, 0, 1)), ((13, 16, 14), 13, (0, 1, 2))],
)
def test_axis_of_the_channels(shape: tuple[int, ...], channels: int, axes: tuple[int, ...] | None) -> None:
    assert find_layout(shape, channels) == axes


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 20, 3), "may be the first or the last axis; set --dataset.channels"),
        ((20, 30, 40), "neither the first nor the last axis is that of at most 16 channels"),
        ((2, 3, 4, 5), r"must be \(C, H, W\), \(H, W, C\) or \(H, W\)"),
    ],
)
def test_array_of_unclear_shape_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UnknownLayout, match=message):
        find_layout(shape)


class Runs:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, ("ran", "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode_npy(np.array([[np.nan, 1.0]], np.float32)), "NaN or Inf"),
        (encode_npy(np.zeros((3, 4, 5), np.uint16))[:-7], "header states 120 bytes, and 113 follow"),
        (encode_npy(np.zeros((3, 4), np.complex64)), "complex64, not of numbers"),
        (encode_npy(np.array([["a"]])), "not of numbers"),
        (encode_npy(np.zeros((0, 4), np.uint8)), "no pixels"),
        (b"\x93NUMPY\x01\x00v\x00", "header"),
    ],
)
def test_damaged_or_other_arrays_are_refused(content: bytes, message: str) -> None:
    with pytest.raises((ValueError, OSError, SyntaxError), match=message):
        decode(cell_of(content), channels=3, dtype="uint16")


def test_pickled_arrays_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = encode_npy(np.zeros(1, np.uint8))
    header = content[: content.index(b"\n") + 1].replace(b"'|u1'", b"'|O' ")
    with pytest.raises(ValueError, match="not of numbers"):
        decode(cell_of(header + pickle.dumps([Runs()])), channels=1, dtype="uint16")
    assert not (tmp_path / "ran").exists()


def test_png_of_16_bits_keeps_them(bands: Pixels) -> None:
    content = encode_image(Image.fromarray(bands[0]), "PNG")
    assert detect_pixels(cell_of(content)) == (1, "uint16")
    np.testing.assert_array_equal(decode(cell_of(content), channels=1, dtype="uint16")[0], bands[0])


def test_pages_of_a_tiff_are_its_channels(bands: Pixels) -> None:
    pages = [Image.fromarray(band) for band in bands[:5]]
    content = encode_image(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert detect_pixels(cell_of(content)) == (5, "uint16")
    np.testing.assert_array_equal(decode(cell_of(content), channels=5, dtype="uint16"), bands[:5])


def test_geotiff_of_many_bands(bands: Pixels) -> None:
    """Without rasterio, the message names the extra to install."""
    rasterio = pytest.importorskip("rasterio")
    with rasterio.io.MemoryFile() as memory:
        profile = {"driver": "GTiff", "count": 13, "height": 20, "width": 30, "dtype": "uint16"}
        with memory.open(**profile) as file:
            file.write(bands)
        content = memory.read()
    np.testing.assert_array_equal(decode(cell_of(content), channels=13, dtype="uint16"), bands)


def test_missing_reader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio.errors", None)
    header = b"II*\0\x08\0\0\0"  # a directory of two entries: 258, bits per sample, and 277, samples per pixel
    entries = b"\x02\0" + b"\x02\x01\x03\0\x01\0\0\0\x10\0\0\0" + b"\x15\x01\x03\0\x01\0\0\0\x0d\0\0\0" + bytes(4)
    with pytest.raises(MissingReader, match=r"a TIFF of 13 channels of 16 bits needs rasterio; `pip install 'sslzoo"):
        decode(cell_of(header + entries), channels=13, dtype="uint16")


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_images_of_8_bits_are_still_converted(form: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    content = encode_image(image, form)
    assert detect_pixels(cell_of(content)) == (3, "uint8")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode(cell_of(content), channels=3), expected.transpose(2, 0, 1))
    assert decode(cell_of(content), channels=1).shape == (1, 9, 7)


def test_image_of_other_channels_is_named() -> None:
    content = encode_npy(np.zeros((4, 20, 30), np.uint16))
    with pytest.raises(ValueError, match=r"4 of uint16, those of the data set 3 of uint16|neither the first nor"):
        decode(cell_of(content), channels=3, dtype="uint16")


def test_shrinking_keeps_the_type_and_the_range(bands: Pixels) -> None:
    decoded = decode(cell_of(encode_npy(bands)), channels=13, dtype="uint16", short_side=10)
    assert decoded.shape == (13, 10, 15)
    assert decoded.dtype == np.uint16
    assert bands.min() <= decoded.min() <= decoded.max() <= bands.max()


def test_detection_reports_an_unclear_shape_unless_another_image_is_clear(tmp_path: Path) -> None:
    for number, shape in enumerate([(7, 7, 16), (20, 20, 16)]):
        np.save(tmp_path / f"{number}.npy", np.zeros(shape, np.uint16))
    paths = [str(tmp_path / f"{number}.npy") for number in range(2)]
    config = DatasetConfig(name="folder", source="huggingface", path=str(tmp_path))
    unclear, both = (Dataset.from_dict({"image": chosen}) for chosen in (paths[:1], paths))
    with pytest.raises(UserError, match=r"0.npy: its shape is \(7, 7, 16\); the channels may be .* set --dataset.ch"):
        detect_images(config, unclear, "image", tmp_path)
    assert detect_images(config, both, "image", tmp_path).channels == 16
