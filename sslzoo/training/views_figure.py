"""Draw the views of a run into its folder."""

from rich.console import Console

from sslzoo.data.load import Data
from sslzoo.data.stream import StreamedImages
from sslzoo.experiment.schema import Experiment
from sslzoo.preview.command import draw_views
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import print_field, print_warning
from sslzoo.training.folder import RunFolder


def draw_views_of_run(experiment: Experiment, data: Data, folder: RunFolder, console: Console) -> None:
    """Draw augmentations.png unless it exists, and print its path; a stream is not drawn, as its buffer fills slowly.

    Called by the main process. A figure that cannot be drawn does not end the run.
    """
    if folder.augmentations.exists() or isinstance(data.train, StreamedImages):
        return
    try:
        draw_views(experiment, data.train, folder.augmentations)
    except (OSError, UserError) as error:
        print_warning(console, f"{folder.augmentations}: not drawn: {error}")
    else:
        print_field(console, "views", str(folder.augmentations))
