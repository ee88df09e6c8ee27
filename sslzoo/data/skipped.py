"""Images that cannot be decoded and are left out, as many as the user allows."""

from collections.abc import Iterable
from threading import Lock

from sslzoo.runtime.errors import UserError, join_names


class Skipped:
    """Images that were skipped, with the reason for each.

    Args:
        limit: how many may be left out.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: list[str] = []
        self._lock = Lock()

    def add(self, names: Iterable[str]) -> None:
        """Count images, those that were not counted yet; any thread may call it.

        Raises:
            UserError: they are too many.
        """
        with self._lock:
            self.names += [name for name in dict.fromkeys(names) if name not in self.names]
            if len(self.names) <= self.limit:
                return
            if self.limit == 0:
                raise UserError(
                    f"{self.names[0]}; mend or remove it, or have up to N such images left out by "
                    "--dataset.max-skipped N"
                )
            raise UserError(f"--dataset.max-skipped {self.limit}: more cannot be decoded: {join_names(self.names)}")

    def describe(self) -> str:
        """How many there are, and the first ones."""
        images = "1 image is" if len(self.names) == 1 else f"{len(self.names)} images are"
        return f"{images} left out (--dataset.max-skipped {self.limit}): {join_names(self.names)}"
