"""Undecodable images that are skipped, up to the limit that the user sets."""

from collections.abc import Iterable
from threading import Lock

from sslzoo.runtime.errors import UserError, join_names


class Skipped:
    """The skipped images of a data set, each as a one-line message with its place, file and reason.

    Args:
        limit: the most images that may be skipped; None for any number.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._messages: dict[str, None] = {}
        self._lock = Lock()

    @property
    def messages(self) -> list[str]:
        """The messages in the order in which they were added."""
        return list(self._messages)

    def add(self, messages: Iterable[str]) -> None:
        """Add the messages of skipped images; duplicates are ignored. Thread-safe.

        Raises:
            UserError: more than `limit` images are skipped.
        """
        with self._lock:
            self._messages.update(dict.fromkeys(messages))
            if self.limit is None or len(self._messages) <= self.limit:
                return
            if self.limit == 0:
                raise UserError(
                    f"{self.messages[0]}; repair or remove it, or skip up to N such images with --dataset.max-skipped N"
                )
            raise UserError(f"--dataset.max-skipped {self.limit}: more cannot be decoded: {join_names(self.messages)}")

    def describe(self) -> str:
        """Return the number of skipped images and the first messages, as one line."""
        images = "1 image is" if len(self._messages) == 1 else f"{len(self._messages):,} images are"
        return f"{images} skipped (--dataset.max-skipped {self.limit}): {join_names(self.messages)}"
