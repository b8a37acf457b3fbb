"""Attacks that take more than they are given: a part of the script, see `attacker`."""

import mmap
import os
import time

HELD_S = 10


def fork_bomb(**_):
    made = 0
    for _ in range(300):
        try:
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
        except OSError:
            break
        made += 1
    return made if made == 300 else None


def take_memory(memory_mib, **_):
    held = []
    try:
        for _ in range(2 * memory_mib // 16):
            held.append(bytearray(b"x") * (16 << 20))
    except MemoryError:
        return None
    _hold()
    return len(held)


def take_shared_memory(memory_mib, **_):
    return _fill(2 * memory_mib)


def take_memory_in_children(memory_mib, **_):
    share = memory_mib * 6 // 10
    for _ in range(4):
        if os.fork() == 0:
            held = bytearray(b"x") * (share << 20)
            _hold()
            os._exit(0 if held else 1)
    return sum(os.wait()[1] == 0 for _ in range(4)) == 4 or None


def _fill(mib):
    held = mmap.mmap(-1, mib << 20)
    for at in range(0, mib << 20, 1 << 20):
        held[at : at + (1 << 20)] = b"x" * (1 << 20)
    _hold()
    return mib


def _hold():
    """Keep what was taken until somebody ends this process; after a while, nobody will."""
    time.sleep(HELD_S)


def write_a_large_file(file_mib, **_):
    with open("large", "wb") as file:
        for _ in range(file_mib + 8):
            file.write(b"x" * (1 << 20))
    return True


def write_many_files(tmp_mib, **_):
    for n in range(tmp_mib // 8 + 2):
        with open("f%d" % n, "wb") as file:
            file.write(b"x" * (8 << 20))
    _hold()  # what is not kept has taken nothing
    return True


def open_many_files(files, **_):
    held = []
    for _ in range(files + 10):
        held.append(os.open("/dev/null", os.O_RDONLY))
    return True
