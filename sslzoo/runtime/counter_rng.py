"""Random numbers from a counter instead of a stream.

Each number is a hash of its keys (seed, epoch, sample, view, ...). It does not depend on batch size, number of
processes, device or earlier draws, so a resumed run draws the same numbers as an uninterrupted one.
The hash is the finalizer of MurmurHash3 (Appleby 2011), 32 bits, chained over the keys.
"""

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: keeps a key of 0 from being a fixed point

Bits = int | Tensor


def _mix(bits: Bits) -> Bits:
    bits = bits ^ (bits >> 16)
    bits = (bits * 0x85EBCA6B) & _MASK
    bits = bits ^ (bits >> 13)
    bits = (bits * 0xC2B2AE35) & _MASK
    return bits ^ (bits >> 16)


def random_bits(*keys: int | Tensor) -> Tensor:
    """Return 32 random bits for every combination of the broadcast keys, as int64 in [0, 2**32).

    Keys are integers or int64 tensors modulo 2**64; both halves enter the hash.
    """
    state: Bits = 0  # an integer until the first tensor key, which determines the device
    for key in keys:
        value = key.to(torch.int64) if isinstance(key, Tensor) else key
        for half in (value & _MASK, (value >> 32) & _MASK):
            state = _mix((state + _GOLDEN + half) & _MASK)
            state = _mix((state * 0x01000193 ^ half) & _MASK)
    return state if isinstance(state, Tensor) else torch.tensor(state)


def uniform(*keys: int | Tensor) -> Tensor:
    """Return uniform float32 numbers in [0, 1) with 24 bits, one for each combination of the broadcast keys."""
    return (random_bits(*keys) >> 8).to(torch.float32) * (1.0 / (1 << 24))


def permutation(n: int, *keys: int | Tensor, device: torch.device | None = None) -> Tensor:
    """Return a random permutation of `range(n)`, int64, identical on every device and process."""
    return torch.argsort(random_bits(*keys, torch.arange(n, device=device)), stable=True)
