"""Results of other authors, each with its setting and source."""

from importlib.resources import files
from typing import NamedTuple

import yaml


class Published(NamedTuple):
    """A result of other authors."""

    method: str
    measure: str
    """`kNN` or `linear`."""
    percent: str
    """Test accuracy with as many digits as in the source."""
    setting: str
    source: str


def load_published(dataset: str) -> list[Published]:
    """Load the published results on a data set, by the name of its config; empty for other data sets."""
    content = yaml.safe_load((files("sslzoo.report") / "published.yaml").read_text(encoding="utf-8"))
    return [
        Published(result["method"], result["measure"], result["percent"], group["setting"], group["source"])
        for group in content.get(dataset, [])
        for result in group["results"]
    ]
