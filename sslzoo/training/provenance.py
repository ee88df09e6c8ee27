"""What a checkpoint was trained with: settings, data and steps per epoch."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sslzoo.data.images import Images, digest
from sslzoo.data.load import Data
from sslzoo.experiment.resume import dump_fixed_settings, find_changed_settings
from sslzoo.experiment.schema import Experiment

MAX_DIFFERENCES = 3
"""Number of differences that a message names."""


@dataclass(frozen=True)
class Provenance:
    """What a run is trained with; each checkpoint contains it, so that a resumed run notices changes."""

    settings: dict[str, Any]
    """See `dump_fixed_settings`."""
    steps_per_epoch: int
    data: dict[str, Any]
    """See `describe_data`."""
    changes: tuple[str, ...] = ()
    """Earlier changes that the user confirmed, each with its step."""

    def as_dict(self) -> dict[str, Any]:
        """Return the content of a JSON file."""
        return asdict(self)


def describe_provenance(experiment: Experiment, data: Data, steps_per_epoch: int) -> Provenance:
    """Describe what a run is trained with."""
    return Provenance(dump_fixed_settings(experiment), steps_per_epoch, describe_data(data))


def describe_data(data: Data) -> dict[str, Any]:
    """Describe the images of each split that is not a stream, and the class names.

    `files` depends on paths, sizes and times of modification, `pixels` on the decoded images (None if they are not
    stored decoded), `labels` on ids and labels.
    """
    splits = {"train": data.train, "labeled": data.labeled, "test": data.test}
    described = {name: _describe_images(images) for name, images in splits.items() if isinstance(images, Images)}
    return {"classes": list(data.classes), "splits": described}


def _describe_images(images: Images) -> dict[str, Any]:
    labels = b"" if images.labels is None else images.labels.tobytes()
    return {
        "images": len(images),
        "files": images.fingerprint,
        "pixels": images.pixel_digest,
        "labels": digest(images.ids.tobytes(), labels),
    }


def find_differences(saved: dict[str, Any], current: Provenance) -> list[str]:
    """Describe each difference between the provenance in a checkpoint and the current one.

    Raises:
        KeyError, TypeError, AttributeError: `saved` has another structure.
    """
    differences = list(find_changed_settings(saved["settings"], current.settings))
    differences += _find_changed_data(saved["data"], current.data)
    if not differences and saved["steps_per_epoch"] != current.steps_per_epoch:
        differences.append(f"steps per epoch were {saved['steps_per_epoch']} and are now {current.steps_per_epoch}")
    return differences


def _find_changed_data(saved: dict[str, Any], current: dict[str, Any]) -> Iterator[str]:
    for split, now in current["splits"].items():
        before = saved["splits"].get(split)
        if before is None:
            yield f"split {split} was missing"
        elif before["images"] != now["images"]:
            yield f"split {split} had {before['images']:,} images and now has {now['images']:,}"
        elif not _are_same_images(before, now):
            yield f"split {split} has other images, or their files were modified"
        elif before["labels"] != now["labels"]:
            yield f"split {split} has other labels"
    for split in saved["splits"].keys() - current["splits"].keys():
        yield f"split {split} is missing"
    if saved["classes"] != current["classes"]:
        yield _describe_changed_classes(saved["classes"], current["classes"])


def _are_same_images(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Compare the pixels if both are known, so that a copy of the files is equal; otherwise the files."""
    if before["pixels"] is not None and now["pixels"] is not None:
        return bool(before["pixels"] == now["pixels"])
    return bool(before["files"] == now["files"])


def _describe_changed_classes(before: list[str], now: list[str]) -> str:
    if len(before) != len(now):
        return f"there were {len(before)} classes and are now {len(now)}"
    old, new = next((old, new) for old, new in zip(before, now, strict=True) if old != new)
    return f"class {old!r} is now {new!r}"


def join_differences(differences: list[str]) -> str:
    """Join the first differences to one line."""
    more = len(differences) - MAX_DIFFERENCES
    shown = "; ".join(differences[:MAX_DIFFERENCES])
    return f"{shown}; and {more} more" if more > 0 else shown
