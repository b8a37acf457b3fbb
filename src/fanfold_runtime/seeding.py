"""Randomness that follows from (seed, index) alone.

Before a call, `random` and NumPy's legacy generator are set to a state derived from the run's seed
and the call's index; a function with a parameter `rng` is given a `numpy.random.Generator` derived
in the same way. So the value at an index does not depend on the degree, the batching, the worker or
a retry.

Source: NumPy's "Parallel random number generation": SeedSequence(seed, spawn_key=(index,)) is the
index-th child of SeedSequence(seed) however many children there are.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import struct
import sys
from typing import Any

_pack = struct.Struct("<QQ").pack
_seed_random = random.seed
_blake2b = hashlib.blake2b


class Seeder:
    """Sets the random state for one call after another.

    NumPy is imported here when the environment has it, so that a script that imports it during its
    first call finds the state already set.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._np = _numpy()

    @property
    def has_generator(self) -> bool:
        return self._np is not None

    def reseed(self, index: int) -> None:
        """Set `random` and NumPy's legacy generator to the state that belongs to the index."""
        digest = _blake2b(_pack(self._seed, index), digest_size=16).digest()
        _seed_random(int.from_bytes(digest, "little"))
        if self._np is not None:
            words = self._np.SeedSequence(self._seed, spawn_key=(index,)).generate_state(4)
            self._np.seed(words)

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
