"""The start of a queue: random unit vectors, which must fit in memory."""

import psutil
import pytest
import torch
from torch.nn import functional as F

from sslzoo.modules.queue import Queue
from sslzoo.runtime.errors import UserError


@pytest.mark.parametrize(("size", "dim"), [(1, 2), (16, 5), (65536 + 7, 3), (140_000, 2)])
def test_keys_are_normalized_in_chunks_as_at_once(size: int, dim: int) -> None:
    torch.manual_seed(0)
    at_once = F.normalize(torch.randn(size, dim), dim=1)
    torch.manual_seed(0)
    assert torch.equal(Queue(size, dim).keys, at_once)


def test_queue_that_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 3 * 2**30

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(UserError) as error:
        Queue(10_000_000, 128)
    assert str(error.value) == (
        "a queue of 10,000,000 keys needs 4.8 GiB of memory, 3.0 GiB are available; use a smaller --method.queue-size"
    )
