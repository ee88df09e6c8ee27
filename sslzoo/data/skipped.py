"""Undecodable images that are skipped, up to the limit that the user sets."""

from collections.abc import Iterable
from threading import Lock

from sslzoo.runtime.errors import UserError, join_names


class Skipped:
    """The skipped images of a data set, each as a one-line message with its place, file and reason.

    Args:
        limit: the most images that may be skipped.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.messages: list[str] = []
        self._lock = Lock()

    def add(self, messages: Iterable[str]) -> None:
        """Add the messages of skipped images; duplicates are ignored. Thread-safe.

        Raises:
            UserError: more than `limit` images are skipped.
        """
        with self._lock:
            self.messages += [text for text in dict.fromkeys(messages) if text not in self.messages]
            if len(self.messages) <= self.limit:
                return
            if self.limit == 0:
                raise UserError(
                    f"{self.messages[0]}; repair or remove it, or skip up to N such images with --dataset.max-skipped N"
                )
            raise UserError(f"--dataset.max-skipped {self.limit}: more cannot be decoded: {join_names(self.messages)}")

    def describe(self) -> str:
        """Return the number of skipped images and the first messages, as one line."""
        images = "1 image is" if len(self.messages) == 1 else f"{len(self.messages)} images are"
        return f"{images} skipped (--dataset.max-skipped {self.limit}): {join_names(self.messages)}"
