"""The filter of system calls: what no function needs and what kernels were broken through.

A list of what is refused, not of what is allowed: NumPy, pandas, Matplotlib, threads, processes and
`multiprocessing` need no exception from it. What outlives every process (System V's shared memory,
message queues) is refused, too: nobody would count or remove it. What is refused fails with EPERM,
clone3 with ENOSYS (the C library then uses clone, whose flags can be looked at), sockets with
EAFNOSUPPORT.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Iterable

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (number on x86_64, on aarch64); -1 where there is no such call
_REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "setns": (308, 268), "unshare": (272, 97),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "iopl": (172, -1), "ioperm": (173, -1),
    "clock_settime": (227, 112), "settimeofday": (164, 170), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "personality": (135, 92), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    "move_pages": (279, 239), "migrate_pages": (256, 238), "mbind": (237, 235),
    "set_mempolicy": (238, 237), "set_mempolicy_home_node": (450, 450), "modify_ldt": (154, -1),
    "lookup_dcookie": (212, 18), "vhangup": (153, 58), "uselib": (134, -1), "sysfs": (139, -1),
    "_sysctl": (156, -1), "nfsservctl": (180, 42), "memfd_secret": (447, 447),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "sethostname": (170, 161), "setdomainname": (171, 162), "lsm_set_self_attr": (460, 460),
}  # fmt: skip

# By path, Landlock does not look at them: with a user id that others share, others' files are meant
_MODES = {
    "chmod": (90, -1), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "removexattrat": (466, 466),
}  # fmt: skip
_UTIMENSAT = (280, 88)
_CLONE, _CLONE3, _SOCKET, _PRLIMIT = (56, 220), (435, 435), (41, 198), (302, 261)

_NEW_NAMESPACES = 0x7E020000
_X32 = 0x40000000

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16


def program(families: Iterable[int], *, fixed_modes: bool, machine: str = "") -> bytes:
    """Return the filter as an array of struct sock_filter.

    Args:
        families: address families of which sockets may be made.
        fixed_modes: refuse to change modes, owners, times and attributes by path.
        machine: as `uname -m` says; this one if empty.

    Raises:
        OSError: there is no filter for this kind of machine.
    """
    machine = machine or os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, "no system call filter for %s" % machine)
    column = list(_ARCHITECTURES).index(machine)
    refused = _ERRNO | errno.EPERM
    out = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQ, _ARCHITECTURES[machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        out += [_step(_JUMP_GE, _X32, 0, 1), _step(_RETURN, refused)]
    names = {**_REFUSED, **(_MODES if fixed_modes else {})}
    for number in sorted(numbers[column] for numbers in names.values()):
        if number >= 0:
            out += _when(number, [_step(_RETURN, refused)])
    out += _when(_CLONE3[column], [_step(_RETURN, _ERRNO | errno.ENOSYS)])
    out += _when(
        _CLONE[column],
        [
            _step(_LOAD, _FIRST),
            _step(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
            _step(_RETURN, refused),
            _step(_RETURN, _ALLOW),
        ],
    )
    out += _when(_PRLIMIT[column], _unless_zero(_FIRST, refused))  # another process's
    if fixed_modes:
        out += _when(_UTIMENSAT[column], _unless_zero(_FIRST + 8, refused))
    allowed = []
    for family in families:
        allowed += [_step(_JUMP_EQ, family, 0, 1), _step(_RETURN, _ALLOW)]
    out += _when(
        _SOCKET[column],
        [_step(_LOAD, _FIRST), *allowed, _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT)],
    )
    out.append(_step(_RETURN, _ALLOW))
    return b"".join(out)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(number: int, then: list[bytes]) -> list[bytes]:
    """Do this at one system call; it must end with a return, for the number is overwritten."""
    return [_step(_JUMP_EQ, number, 0, len(then)), *then]


def _unless_zero(argument: int, verdict: int) -> list[bytes]:
    """Give the verdict unless the argument, all 64 bits of it, is zero."""
    return [
        _step(_LOAD, argument),
        _step(_JUMP_EQ, 0, 0, 2),
        _step(_LOAD, argument + 4),
        _step(_JUMP_EQ, 0, 1, 0),
        _step(_RETURN, verdict),
        _step(_RETURN, _ALLOW),
    ]
