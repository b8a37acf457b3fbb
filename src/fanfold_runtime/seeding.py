"""Randomness that follows from (seed, index) alone.

Before a call, `random` and NumPy's legacy generator are set to a state derived from the run's seed
and the call's index; a function with a parameter `rng` is given a `numpy.random.Generator` derived
from the same two. So the value at an index does not depend on the degree, the batching, the worker
or a retry.

`rng` comes from `SeedSequence(seed, spawn_key=(index,))`. The two old generators are set before
every call of a script that can reach them, so they are set cheaply: `random` by a keyed hash of the
index, NumPy's by a 32-bit number, which it takes six times as fast as an array. A permutation makes
that number from the index under a key from the seed, so that no two of the first 2**32 indexes of a
run share a state, as hashes of that size would from about 65,000 on.

Sources: NumPy's "Parallel random number generation" (the index-th child of a SeedSequence, however
many children there are); the permutation is the finalizer of MurmurHash3 (Austin Appleby, public
domain) between additions of the key.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import struct
import sys
from typing import Any

from fanfold_runtime.randomness import NUMPY, PYTHON

_pack = struct.Struct("<QQ").pack
_seed_random = random.seed
_blake2b = hashlib.blake2b


_halves = struct.Struct("<II8x").unpack
_U32 = 0xFFFFFFFF


def permuted(number: int) -> int:
    """Return another 32-bit number; different ones for different numbers modulo 2**32."""
    number &= _U32
    number ^= number >> 16
    number = number * 0x85EBCA6B & _U32
    number ^= number >> 13
    number = number * 0xC2B2AE35 & _U32
    return number ^ number >> 16


class Seeder:
    """Sets the random state for one call after another.

    NumPy is imported here when the environment has it, so that a script that imports it during its
    first call finds the state already set.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._np = _numpy()
        key = _blake2b(_pack(seed, 0), digest_size=16, person=b"fanfold-legacy").digest()
        self._before, self._after = _halves(key)

    @property
    def has_generator(self) -> bool:
        return self._np is not None

    def reseed(self, index: int, draws: int = PYTHON | NUMPY) -> None:
        """Set the old generators to the state that belongs to the index.

        Args:
            draws: flags of those that the script can draw from; the others are left alone.
        """
        if draws & PYTHON:
            digest = _blake2b(_pack(self._seed, index), digest_size=16).digest()
            _seed_random(int.from_bytes(digest, "little"))
        if draws & NUMPY and self._np is not None:
            self._np.seed(permuted(index + self._before) + self._after & _U32)

    def generator(self, index: int) -> Any:
        """Return the Generator for the index."""
        np = self._np
        return np.Generator(np.PCG64(np.SeedSequence(self._seed, spawn_key=(index,))))


def _numpy() -> Any:
    if "numpy" not in sys.modules and importlib.util.find_spec("numpy") is None:
        return None
    try:
        import numpy.random
    except Exception:  # a broken numpy fails where the script imports it, with its own message
        return None
    return numpy.random
