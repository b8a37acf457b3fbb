"""The frames between the server and a worker, and the messages between the server and a zygote.

A *zygote* is the process that the server starts: it preloads libraries and forks workers. A
*worker* runs calls. Each has a private stream socket to the server; descriptors 1 and 2 belong to
the user's code.

**Worker frames** are `u32 length | u8 kind | payload`, little-endian; `length` counts the kind and
the payload. A worker reads SOURCE, RUN, LEASE, END and writes HELLO, METERS, PART, VALUES, OUTCOME,
DONE, RETIRE.

    server → worker
    SOURCE   32s digest | u16 entry length | entry | u16 name length | name | source (UTF-8)
             Remember a source text. The server sends it before the first RUN that names the digest.
    RUN      RUN_HEADER | parameters (JSON object, UTF-8)
             Begin a run in a fresh namespace; the next leases belong to it.
    LEASE    LEASE_HEADER
             Run calls start … start+count-1. After `budget_us` (0: no limit) end early: finish the
             call in hand, send what is done; the server leases the rest again. With CAREFUL each
             call is reported by itself, so that a call that kills the worker is known by name.
    END      u32 run
             The run is over: put everything back, or RETIRE.

    worker → server
    HELLO    JSON object: pid, python, packages
    VALUES   VALUES_HEADER | a JSON array of `count` values
             Calls that returned and left nothing else. With FINAL it also ends the lease.
    METERS   METERS_HEADER | u32 elapsed_us[count] | u32 peak_kib[count]
             With KEEP_METERS, before the VALUES of the same calls: what each took, and the most
             memory that its process has had by its end. Calls of one `map` share its time alike.
    PART     PART_HEADER | a JSON array of at least one element, or nothing
             The elements with which the value of the call in hand begins, an array: the VALUES or
             the OUTCOME with the rest of it follow. So what is written is read meanwhile. Without
             any, what was sent of the value is void, as it is when the call fails after all.
    OUTCOME  OUTCOME_HEADER | header (JSON object) | value | log | images, in this order
             One call that failed, drew, or wrote; lengths are in the header (see `loop.py`).
    DONE     DONE_HEADER
             Ends a lease whose last frame was an OUTCOME.
    RETIRE   JSON object: reason
             The worker is not fit for another run and ends. Leases that it holds were not begun.

**Rows** come as open files, not as bytes: before a RUN with the flag ROWS the server sends one
message with descriptors (SCM_RIGHTS) over the worker's second socket: an Arrow IPC file, open for
reading, and with CUT a file of little-endian u64, one more than there are calls: the call of index
i (from 1) has the rows [i-1] … [i]. So a worker reads what was opened for it and can open nothing.

**Asks** go over the second socket, too, since a call must not read frames: one message each way.

    worker → server   {"ask":n, "run":r, "verb":v, …}, and a sealed file in memory where there is
                      something to hand over (SCM_RIGHTS)
    server → worker   {"ask":n, "ok":…} or {"ask":n, "error":{"code","message","is_caller"}}, and an
                      open file where there is something to read; with "in_file":true that file
                      holds the JSON of "ok"

The server takes one ask of a worker at a time, and only for the run that the worker has in hand; it
answers as that run's caller. An answer is told from files for a RUN by its first byte, which is
`{`; one that nobody waits for any more (a signal handler raised) is dropped, by its number.

**Zygote messages** are one JSON object a line. A `fork` comes with descriptors (SCM_RIGHTS): the
worker's sockets, that of frames first, the file that takes its descriptors 1 and 2, and `d` files
to which the worker writes "0" before anything else, and so joins its control groups. With `once` it
is meant for a RUN with the flag ONCE, and does not look how the process is before; should it be
given another, it does then.

    server → zygote   {"op":"fork","id":n,"doors":d,"once":b}
                      {"op":"kill","id":n}  {"op":"measure","id":n}
    zygote → server   {"op":"outlet"}, once, with the socket that is its way out (`outlet.py`)
                      {"op":"ready",…}  {"op":"forked","id":n,"pid":p}
                      {"op":"exited","id":n,"status":s,"strays":k,"memory_kib":m,"tmp_kib":t}
                      {"op":"measured","id":n,"cpu_ms":c}

`memory_kib` and `tmp_kib` are what a worker was killed for: it and all that it had started took
that much memory, its files that much room; or 0. `cpu_ms` is the processor time of the same.

No pickle anywhere: each side treats the other's bytes as data.
"""

from __future__ import annotations

import struct

ASK_BYTES = 128 << 10
"""Longest message of an ask, either way."""

FILES = b"\0"
"""The message on the second socket that brings the files of a RUN."""

MAX_PROGRAMS = 64
"""Source texts that a worker remembers; both sides count alike and forget the oldest first."""

LENGTH = struct.Struct("<I")

SOURCE = 1
RUN = 2
LEASE = 3
END = 4

HELLO = 65
VALUES = 66
OUTCOME = 67
DONE = 68
RETIRE = 69
METERS = 70
PART = 71

SOURCE_HEADER = struct.Struct("<32sH")
"""digest, length of the entry function's name."""

RUN_HEADER = struct.Struct("<I32sQHIQIH")
"""run, digest, seed, flags, max_len (0: none), max_value_bytes, max_log_bytes, threads (0: as they
are)."""

LEASE_HEADER = struct.Struct("<IQQIB")
"""run, start, count, budget_us, careful."""

END_HEADER = struct.Struct("<I")

VALUES_HEADER = struct.Struct("<IQQIB")
"""run, start, count, spent_us, final."""

METERS_HEADER = struct.Struct("<IQQ")
"""run, start, count."""

METER_BYTES = 8
"""What a METERS frame has of each call."""

PART_HEADER = struct.Struct("<IQ")
"""run, index."""

OUTCOME_HEADER = struct.Struct("<IQI")
"""run, index, length of the JSON header."""

DONE_HEADER = struct.Struct("<IQQI")
"""run, start, count of calls that ended (values and outcomes together), spent_us."""

# RUN flags
INDEXED = 1
"""The index is the first positional argument."""
GRAPHICS = 2
"""Capture figures; every call is reported as an OUTCOME."""
KEEP_POINT_ZERO = 4
"""Write 6.0 as `6.0`; without it as `6`, as the compatible service's outer JSON does."""
ROUND_FRAMES = 8
"""Round the floats of DataFrames to 10 decimals, as the compatible service does."""
KEEP_LOGS = 16
"""Report what a call printed even if it succeeded."""
REFUSE_OUTPUT = 32
"""A call that printed fails with PRINTED."""

KEEP_METERS = 64
"""Report what each call took, also of those that left nothing but a value."""

ROWS = 128
"""The rows are the first positional argument; their file comes over the second socket."""
CUT = 256
"""Each call has rows of its own; without it the only call has all of them."""
NA_OMIT = 512
"""Leave out rows in which a value is missing."""
AS_FRAME = 1024
"""Rows are a DataFrame, also if all columns are numbers."""
AS_RECORDS = 2048
"""Rows are a record array."""
SPLICE = 4096
"""Write every value as an array to be joined to others: the records of a DataFrame, or [value]."""
COLUMN_FRAMES = 8192
"""Write a returned DataFrame by columns with row labels: {"a":{"0":1}}."""
IN_PARTS = 16384
"""A large value may be sent in PARTs."""
ONCE = 32768
"""No other run follows: nothing need be put back, and the process is killed after it."""

# OUTCOME header: failure kinds (the same numbers as the server's FailureKind)
TOO_LONG = 1024
PRINTED = 1026
RAISED = 3001
LOAD = 3002
NOT_JSON = 3003
TOO_LARGE = 3004
OUT_OF_MEMORY = 3006
NO_FIGURES = 3009
NO_GENERATOR = 3010
NO_ARROW = 3012
UNREADABLE_ROWS = 3013
OUT_OF_PROCESSES = 3016
OUT_OF_FILES = 3017
OUT_OF_SPACE = 3018
FILE_TOO_LARGE = 3019
TOO_MUCH_OUTPUT = 3020


def frame(kind: int, *parts: bytes) -> list[bytes]:
    """Return one frame as a list of buffers, header first."""
    n = 1
    for part in parts:
        n += len(part)
    return [LENGTH.pack(n) + bytes((kind,)), *parts]
