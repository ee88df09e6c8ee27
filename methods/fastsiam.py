"""FastSiam: Resource-Efficient Self-supervised Learning on a Single GPU."""

from pydantic import Field

from sslzoo.method.base import METHODS

from .simsiam import SimSiam


@METHODS.register("fastsiam")
class FastSiam(SimSiam):
    """SimSiam with more than two views: each prediction matches the mean embedding of the other views."""

    paper = "Pototzky et al., GCPR 2022 (doi 10.1007/978-3-031-16788-1_4), section 3"

    class Config(SimSiam.Config):
        views: tuple[str, ...] = Field(("strong",) * 4, min_length=2)  # type: ignore[assignment]  # more than a pair
        """Augmentation of each view."""
