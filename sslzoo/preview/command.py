"""`run.py augmentations`: draw the views that a method would be trained on, and list their settings."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from sslzoo.config.folders import slugify
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.view import explain_missing_kernel
from sslzoo.data.images import Images
from sslzoo.data.load import load_data
from sslzoo.data.stream import StreamedImages
from sslzoo.experiment.schema import Experiment
from sslzoo.preview.sample import sample_preview
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import print_field, print_note


def preview(asked: Namespace, experiment: Experiment) -> int:
    """Draw the figure and print the settings of each augmentation.

    Returns:
        The exit status, 0.

    Raises:
        UserError: the data is invalid, or the file cannot be written.
    """
    console = Console()
    experiment = experiment.resolve_auto("fp32", explain_missing_kernel("cpu") is None)
    data = load_data(experiment.dataset.model_copy(update={"cache": "none"}))  # decodes the drawn images only
    experiment = experiment.with_dataset(data.config)
    stem = slugify(f"augmentations-{experiment.method.name}-{experiment.dataset.name}")
    path = asked.output or Path(f"{stem}.png")
    try:
        draw_views(experiment, data.train, path, images_shown=asked.images, epoch=asked.epoch)
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written: {error.strerror}") from error
    for name in dict.fromkeys(experiment.method.views):
        print_field(console, name, describe_augmentation(experiment.augmentation(name)))
    print_note(console, f"figure: {path}")
    return 0


def draw_views(
    experiment: Experiment, images: Images | StreamedImages, path: Path, *, images_shown: int = 8, epoch: int = 0
) -> None:
    """Draw the views of the first images of an epoch of training.

    Raises:
        OSError: the file cannot be written.
    """
    from sslzoo.preview.draw import draw_preview  # matplotlib takes a second to import

    sample = sample_preview(experiment, images, images_shown, epoch=epoch)
    title = f"{experiment.method.name} on {experiment.dataset.name}, epoch {epoch}, seed {experiment.seed}"
    draw_preview(sample, path, title=title)


def describe_augmentation(augmentation: Augmentation) -> str:
    """Describe the settings of an augmentation that differ from those of a plain center crop."""
    settings = augmentation.model_dump(exclude_defaults=True, exclude={"size"})
    texts = [f"{name} {_format(value)}" for name, value in settings.items()]
    return f"{augmentation.size} px, {', '.join(texts) or 'center crop'}"


def _format(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
