"""What tensors hold."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class TensorMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that operations made meanwhile and that are still there; `most` at any time.

    What an operation holds while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._held: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                place = storage.data_ptr()
                if place and place not in self._held:
                    self._held[place] = storage.nbytes()
                    weakref.finalize(storage, self._held.pop, place, None)
        self.most = max(self.most, sum(self._held.values()))
        return result
