"""The channels to which color operations apply."""

from collections.abc import Callable

from torch import Tensor

Channels = tuple[int, ...] | None
"""Numbers of channels; None for all of them."""


def find_color_channels(channels: int, rgb: tuple[int, int, int] | None) -> Channels:
    """Return the channels to which color operations apply: those of grayscale and RGB images, otherwise the named ones.

    Args:
        channels: of the images.
        rgb: red, green and blue, if they are known.

    Returns:
        Empty if there are none.
    """
    if channels == 1 or (channels == 3 and rgb in (None, (0, 1, 2))):
        return None
    return rgb or ()


def apply_to(channels: Channels, operation: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply an operation to some channels of images (B, C, H, W); the others do not change."""
    if channels is None:
        return operation(images)
    if not channels:
        return images
    changed = images.clone()
    changed[:, list(channels)] = operation(images[:, list(channels)])
    return changed
