"""The text with which `run.py --help` begins."""

from sslzoo.config.layers import config_names
from sslzoo.experiment.schema import Experiment
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.targets import TARGETS


def describe_run_flags() -> str:
    """Describe the flags that choose parts and files, and the other commands."""
    choices = {"method": METHODS.names(), "target": TARGETS.names(), "loss": LOSSES.names()}
    datasets = [name.removeprefix("dataset/") for name in config_names("dataset")]
    return "\n".join(
        [
            Experiment.__doc__ or "",
            "",
            "Names choose parts; each part has its own settings:",
            *(f"  --{part} NAME  ({', '.join(names)})" for part, names in choices.items()),
            "  --backbone NAME (any timm model)   --optimizer NAME (any timm optimizer)",
            f"  --dataset NAME ({', '.join(datasets)})",
            "  --config FILE-OR-NAME ...  --plugin FILE ...  --trust-plugins  --print-config",
            "  --resume RUN-OR-auto  --resume-anyway",
            "",
            "Other commands; each has --help:",
            "  evaluate RUN       evaluate a trained encoder by other protocols, or weights of other projects",
            "  embed WEIGHTS      write the features of images to a file",
            "  search NAME FILE   find nearest images, near-duplicates, outliers or clusters by their features",
            "  compare            train methods with several seeds, and write a page that compares them",
            "  plan               estimate time, memory and bottleneck of a run, and measure what would make it faster",
            "  augmentations      draw the views that a method would be trained on",
            "  card RUN           write the backbone of a run in timm's layout, with a model card",
            "  push RUN NAME      upload the backbone of a run to the Hugging Face Hub",
            "  list               list methods, targets, losses, data sets and protocols",
            "  describe NAME      show the settings, defaults and paper of a part",
            "  new KIND NAME      write the template of a custom part, and its test",
            "  check NAME ...     run the checks of built-in parts on custom ones",
        ]
    )
