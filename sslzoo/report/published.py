"""Published results, each with its setting and source."""

from importlib.resources import files
from typing import NamedTuple

import yaml


class Published(NamedTuple):
    """A result that others report."""

    method: str
    measure: str
    """`kNN` or `linear`."""
    percent: str
    """Test accuracy with the digits that its source gives."""
    setting: str
    source: str


def published(dataset: str) -> list[Published]:
    """What is known of a data set, by the name of its config; nothing for any other."""
    content = yaml.safe_load((files("sslzoo.report") / "published.yaml").read_text(encoding="utf-8"))
    return [
        Published(result["method"], result["measure"], result["percent"], group["setting"], group["source"])
        for group in content.get(dataset, [])
        for result in group["results"]
    ]
