"""Attacks on what the call before has left: a part of the script, see `attacker`."""

import os


def find_shared_memory_of_another_call(mark, **_):
    """The call before, of another caller of this script, has left it there."""
    path = os.path.join("/dev/shm", mark)
    return path if os.path.exists(path) and open(path).read() else None
