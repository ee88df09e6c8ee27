"""Every supported form of a data set, and every wrong way to name it."""

import io
import tarfile

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from sslzoo.config.layers import config_names, configs_folder, find_layer, read_layer
from sslzoo.data.config import DatasetConfig
from sslzoo.data.decode import decode, open_reduced
from sslzoo.data.load import load_data
from sslzoo.data.sources import DATASETS, Source
from sslzoo.runtime.errors import UserError


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels_of(images):
    batch = images.gather(np.arange(len(images)))
    return batch.pixels.permute(0, 2, 3, 1).numpy()


def config(path, **settings):
    return DatasetConfig(path=str(path), **settings)


def parquet(path, columns, features=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)


@pytest.fixture
def cifar_like(tmp_path, random_image):
    """A folder of parquet with two label columns; returns it and the train images."""
    names = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(img=datasets.Image(), fine_label=names, coarse_label=names)
    images = [random_image() for _ in range(4)]
    for split, some in (("train", images), ("test", images[:2])):
        columns = {
            "img": some,
            "fine_label": [i % 2 for i in range(len(some))],
            "coarse_label": [1] * len(some),
        }
        parquet(tmp_path / "set" / f"{split}-00000-of-00001.parquet", columns, features)
    return tmp_path / "set", np.stack(images)


def test_parquet_folder(cifar_like):
    path, images = cifar_like
    data = load_data(config(path, label="fine_label"))
    np.testing.assert_array_equal(pixels_of(data.train), images)
    np.testing.assert_array_equal(data.train.labels, [0, 1, 0, 1])
    assert data.classes == ["cat", "dog"]
    assert data.labeled is data.train
    assert len(data.test) == 2


def test_parquet_files(cifar_like):
    path, images = cifar_like
    for files in (path / "train-00000-of-00001.parquet", path / "train-*.parquet"):
        data = load_data(config(files, label="coarse_label", test=None, test_share=0))
        np.testing.assert_array_equal(pixels_of(data.train), images)
        assert data.test is None


def test_parquet_written_without_datasets(tmp_path, random_image):
    images = [random_image() for _ in range(3)]
    cells = [{"bytes": png(image), "path": None} for image in images]
    pq.write_table(pa.table({"photo": cells, "class": ["owl", "ant", "owl"]}), tmp_path / "train.parquet")
    data = load_data(config(tmp_path, test=None))
    np.testing.assert_array_equal(pixels_of(data.train), np.stack(images))
    assert (data.classes, data.train.labels.tolist()) == (["ant", "owl"], [1, 0, 1])


def test_class_folders(class_folders):
    data = load_data(config(class_folders))
    assert (data.classes, data.train.labels.tolist()) == (["cat", "dog"], [0, 0, 0, 1, 1])
    assert len(data.test) == 5
    only_classes = load_data(config(class_folders / "train", test=None))
    assert (only_classes.classes, only_classes.train.labels.tolist()) == (["cat", "dog"], [0, 0, 0, 1, 1])


def test_class_folders_used_without_labels(class_folders):
    data = load_data(config(class_folders, unlabeled=True))
    assert (data.classes, data.train.labels, data.labeled) == ([], None, None)
    assert (data.train.gather(np.arange(2)).labels == -1).all()


def test_validation_folder_is_the_split_validation(class_folders):
    (class_folders / "test").rename(class_folders / "val")
    assert len(load_data(config(class_folders, test="validation")).test) == 5


@pytest.mark.parametrize("nested", [False, True])
def test_folder_without_labels(tmp_path, random_image, nested):
    for number in range(4):
        file = tmp_path / (f"day{number % 2}/deep{number}" if nested else ".") / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image()).save(file)
    settings = read_layer(find_layer("dataset/folder"))["dataset"]
    data = load_data(DatasetConfig(**settings, path=str(tmp_path)))
    assert (len(data.train), data.train.labels, data.labeled, data.test) == (4, None, None, None)


@pytest.mark.parametrize("one_file", [False, True])
def test_tar_shards(tmp_path, random_image, one_file):
    images = [random_image() for _ in range(4)]
    for shard in range(2):
        with tarfile.open(tmp_path / f"train-{shard}.tar", "w") as tar:
            for number in (2 * shard, 2 * shard + 1):
                for ending, content in (("png", png(images[number])), ("cls", str(number % 2).encode())):
                    member = tarfile.TarInfo(f"{number:04d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    data = load_data(config(tmp_path / "train-0.tar" if one_file else tmp_path, test=None))
    np.testing.assert_array_equal(pixels_of(data.train), np.stack(images[: 2 if one_file else 4]))
    assert (data.train.labels[:2].tolist(), data.classes) == ([0, 1], ["0", "1"])


def test_color_modes(tmp_path, random_image):
    rgb = random_image(5, 7)
    grayscale = rgb[..., 0]
    deep = grayscale.astype(np.uint16) * 257
    Image.fromarray(grayscale).save(tmp_path / "0-grayscale.png")
    Image.fromarray(np.dstack([rgb, grayscale])).save(tmp_path / "1-rgba.png")
    Image.fromarray(deep).save(tmp_path / "2-deep.png")
    Image.fromarray(rgb).quantize(64).save(tmp_path / "3-palette.png", transparency=0)
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "4-cmyk.tiff")
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "5-int.tiff")
    Image.fromarray(np.dstack([grayscale, rgb[..., 1]]), "LA").save(tmp_path / "6-la.png")
    palette = np.asarray(Image.open(tmp_path / "3-palette.png").convert("RGBA"))[..., :3]

    data = load_data(config(tmp_path, test=None))
    as_rgb = np.dstack([grayscale] * 3)
    expected = [as_rgb, rgb, as_rgb, palette, rgb, as_rgb, as_rgb]
    np.testing.assert_array_equal(pixels_of(data.train), np.stack(expected))

    one = load_data(config(tmp_path, test=None, channels=1, mean=(0.5,), std=(0.5,)))
    assert one.train.gather(np.arange(7)).pixels.shape == (7, 1, 5, 7)
    np.testing.assert_array_equal(pixels_of(one.train)[[0, 2, 5, 6], ..., 0], [grayscale] * 4)


def test_exif_orientation_is_applied(tmp_path, random_image):
    pixels = random_image(4, 9)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter to the left, so it is displayed rotated to the right
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=exif)
    data = load_data(config(tmp_path, test=None))
    np.testing.assert_array_equal(pixels_of(data.train)[0], np.rot90(pixels, -1))


def test_short_side_shrinks_large_images_only(tmp_path, random_image):
    sizes = [(40, 60), (100, 30), (8, 50), (20, 20)]
    for number, size in enumerate(sizes):
        Image.fromarray(random_image(*size)).save(tmp_path / f"{number}.png")
    batch = load_data(config(tmp_path, test=None, short_side=20)).train.gather(np.arange(4))
    assert batch.sizes.tolist() == [[20, 30], [67, 20], [8, 50], [20, 20]]
    assert batch.pixels.shape == (4, 3, 67, 50)
    assert batch.pixels[2, :, 8:].max() == 0


@pytest.mark.parametrize("rotated", [False, True])
def test_large_jpeg_is_decoded_at_a_lower_resolution(tmp_path, random_image, rotated):
    photograph = Image.fromarray(random_image(6, 8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if rotated:
        exif[0x0112] = 6
    photograph.save(tmp_path / "0.jpg", quality=95, exif=exif)
    content = io.BytesIO((tmp_path / "0.jpg").read_bytes())
    sizes = {100: (400, 300), 150: (400, 300), 151: (800, 600), 300: (800, 600)}
    for short_side, size in sizes.items():
        image, reduced = open_reduced(content, short_side)
        assert (image.size, reduced) == (size, True)
    assert open_reduced(content, 301)[1] is open_reduced(content, None)[1] is False
    whole = Image.open(tmp_path / "0.jpg").resize((133, 100), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.rotate(-90, expand=True) if rotated else whole)
    (shrunk,) = pixels_of(load_data(config(tmp_path, test=None, short_side=100)).train)
    assert shrunk.shape == expected.shape
    assert np.abs(shrunk.astype(int) - expected).max() <= 6
    assert np.abs(shrunk.astype(int) - expected).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}, {"exif": 6}],
    ids=["4:4:4", "4:2:2", "4:2:0", "progressive", "rotated"],
)
def test_jpeg_has_the_pixels_of_pillow(random_image, mode, options):
    options = dict(options)
    if (orientation := options.pop("exif", None)) is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(random_image(13, 19)).convert(mode).save(file, "JPEG", quality=90, **options)
    for channels, converted in ((3, "RGB"), (1, "L")):
        expected = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert(converted))
        pixels = decode({"bytes": file.getvalue(), "path": None}, channels=channels)
        np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1) if channels == 3 else expected[None])


def test_truncated_jpeg_is_refused(random_image):
    file = io.BytesIO()
    Image.fromarray(random_image(60, 60)).save(file, "JPEG")
    with pytest.raises(OSError, match="truncated"):
        decode({"bytes": file.getvalue()[:-900], "path": None}, channels=3)


def test_undecodable_image_is_named(tmp_path, random_image):
    Image.fromarray(random_image()).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    for cache in ("auto", "memory-map"):
        with pytest.raises(UserError, match=r"row 1 \(.*1\.png\): not an image that can be decoded"):
            load_data(config(tmp_path, test=None, cache=cache))
    data = load_data(config(tmp_path, test=None, cache="none"))
    with pytest.raises(UserError, match="row 1"):
        data.train.gather(np.array([0, 1]))


def test_training_uses_unlabeled_images_and_evaluation_only_labeled_ones(tmp_path, random_image):
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    splits = {"train": [0, 1, 1], "unlabeled": [-1, None, -1, -1], "test": [1]}
    for split, labels in splits.items():
        columns = {"image": [random_image() for _ in labels], "label": labels}
        parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", columns, features)
    data = load_data(config(tmp_path, train="train+unlabeled", labeled="train"))
    assert data.train.labels.tolist() == [0, 1, 1, -1, -1, -1, -1]
    assert data.labeled.labels.tolist() == [0, 1, 1]
    found = load_data(config(tmp_path, train="unlabeled+train"))
    assert (found.labeled.labels.tolist(), found.labeled.ids.tolist()) == ([0, 1, 1], [4, 5, 6])
    assert load_data(config(tmp_path, train="unlabeled")).labeled is None


@pytest.mark.parametrize(("values", "classes"), [([3, 9, 3, -1], ["3", "9"]), (["b", "a", "b", None], ["a", "b"])])
def test_plain_label_columns(tmp_path, random_image, values, classes):
    table = datasets.Dataset.from_dict({"photo": [random_image() for _ in values], "Label": values})
    table.cast_column("photo", datasets.Image()).to_parquet(tmp_path / "train.parquet")
    data = load_data(config(tmp_path, test=None))
    assert data.classes == classes
    expected = [classes.index(str(value)) if str(value) in classes else -1 for value in values]
    assert data.train.labels.tolist() == expected


def test_labels_of_all_splits_are_numbered_together(tmp_path, random_image):
    for split, values in (("train", ["b", "d"]), ("test", ["a", "d"])):
        table = datasets.Dataset.from_dict({"image": [random_image(), random_image()], "label": values})
        table.cast_column("image", datasets.Image()).to_parquet(tmp_path / f"{split}-0.parquet")
    data = load_data(config(tmp_path))
    assert (data.classes, data.train.labels.tolist(), data.test.labels.tolist()) == (
        ["a", "b", "d"],
        [1, 2],
        [0, 2],
    )


def test_limit_is_balanced_repeatable_and_keeps_ids(tmp_path, random_image):
    labels = [0] * 12 + [1] * 6 + [2] * 2
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c"]))
    images = np.stack([random_image() for _ in labels])
    for split in ("train", "test"):
        parquet(tmp_path / f"{split}-0.parquet", {"image": list(images), "label": labels}, features)
    data = load_data(config(tmp_path, limit=9))
    assert np.bincount(data.train.labels).tolist() == [4, 3, 2] or np.bincount(data.train.labels).tolist() == [3, 4, 2]
    np.testing.assert_array_equal(pixels_of(data.train), images[data.train.ids])
    assert (np.diff(data.train.ids) > 0).all()
    assert len(data.test) == 20
    again = load_data(config(tmp_path, limit=9, test_limit=4, cache="none"))
    np.testing.assert_array_equal(again.train.ids, data.train.ids)
    assert len(again.test) == 4


def test_digits():
    settings = read_layer(find_layer("dataset/digits"))["dataset"]
    data = load_data(DatasetConfig(**settings))
    assert (len(data.train), len(data.test), len(data.classes)) == (1297, 500, 10)
    batch = data.train.gather(np.arange(1297))
    assert batch.pixels.shape == (1297, 1, 8, 8)
    pixels = batch.pixels.double() / 255
    assert pixels.mean().item() == pytest.approx(settings["mean"][0], abs=1e-4)
    assert pixels.std().item() == pytest.approx(settings["std"][0], abs=1e-4)
    assert pixels.max() == 1
    assert set(data.test.labels) == set(range(10))


def test_plugin_source_needs_load_only(random_image):
    @DATASETS.register("two-noises")
    class TwoNoises(Source):
        def load(self, split):
            table = datasets.Dataset.from_dict({"image": [random_image(), random_image()]})
            return table.cast_column("image", datasets.Image())

    data = load_data(DatasetConfig(source="two-noises", test=None))
    assert len(data.train) == 2
    streamed = load_data(DatasetConfig(source="two-noises", streaming=True, epoch_images=2, test_limit=1))
    assert len(streamed.test) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": "tets"}, r"--dataset\.test tets: no such split; .* has train, test \(`--dataset.test None` if"),
        (
            {"train": "train+unlabeled"},
            r"--dataset\.train train\+unlabeled: no such split; .* has train, test$",
        ),
        ({}, r"--dataset\.label: several columns of labels; name one of fine_label, coarse_label"),
        ({"label": "fine_lable"}, r"--dataset\.label fine_lable: no such column; did you mean fine_label\?"),
        ({"label": "img"}, r"--dataset\.label img: a column of Image"),
        (
            {"image": "image", "label": "fine_label"},
            r"--dataset\.image image: no such column; did you mean img",
        ),
        (
            {"source": "hugingface"},
            r"--dataset\.source hugingface: no such source; did you mean huggingface\?",
        ),
        ({"path": None}, r"--dataset\.path: missing; give"),
        ({"path": "./nowhere"}, r"--dataset\.path \./nowhere: no such file or folder"),
        ({"path": "/no/such/place"}, r"--dataset\.path /no/such/place: no such file or folder"),
        ({"path": "/no/such/*.tar"}, r"--dataset\.path /no/such/\*\.tar: no such files"),
        (
            {"path": "uoft-cs/cifar10"},
            r"--dataset\.path uoft-cs/cifar10: .*Hub could not be reached; .*local copy",
        ),
    ],
)
def test_errors_are_one_line(cifar_like, settings, message):
    with pytest.raises(UserError, match=message) as error:
        load_data(DatasetConfig(**{"path": str(cifar_like[0]), **settings}))
    assert "\n" not in str(error.value)


def test_several_or_no_image_columns_are_errors(tmp_path, random_image):
    two = datasets.Features(left=datasets.Image(), right=datasets.Image())
    parquet(tmp_path / "two" / "train.parquet", {"left": [random_image()], "right": [random_image()]}, two)
    with pytest.raises(UserError, match=r"--dataset\.image: several columns of images, left, right; name one"):
        load_data(config(tmp_path / "two", test=None))
    parquet(tmp_path / "none" / "train.parquet", {"text": ["a"]})
    with pytest.raises(UserError, match=r"--dataset\.image: no column of images; name one of text"):
        load_data(config(tmp_path / "none", test=None))


def test_folders_and_files_without_images_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: "):
        load_data(config(tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"notes\.txt: a file must end in \.parquet"):
        load_data(config(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 1, "mean": (0.5, 0.4, 0.3)},
        {"channels": 17},
        {"std": (0.0,)},
        {"range": (1.0,)},
        {"rgb": (0, 1, 1)},
        {"streaming": True},
        {"limit": 0},
        {"typo": 1},
    ],
)
def test_inconsistent_settings_are_errors(settings):
    with pytest.raises(UserError):
        DatasetConfig(**settings)


@pytest.mark.parametrize("name", config_names("dataset"))
def test_shipped_configs_are_valid(name):
    layer = read_layer(find_layer(name))
    assert DatasetConfig(**layer["dataset"]).name
    first = (configs_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
