"""The result of a job, written as a table of its owner.

    values of the job ──▶ rows, checked one by one ──▶ a file in a form that tables are loaded from
    ──▶ a table's file ──▶ one transaction: the table has its name, and the job's is written

Killed anywhere before the transaction, it begins anew; after it, there is nothing to do. The next
server that looks for wanted tables goes on with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson
import structlog

from fanfold_server.model.errors import CallerError, NotTabular
from fanfold_server.model.job import Job
from fanfold_server.model.rows import DataFormat, TableInfo
from fanfold_server.rows.port import TableFiles
from fanfold_server.service.planning import DO_EVAL, GROUP_APPLY, INDEX_APPLY, TABLE_APPLY
from fanfold_server.service.reading import Reading, Stretch
from fanfold_server.service.rowkeeping import read_kept
from fanfold_server.store.port import Blobs, JobNotes, Ledger, Signal, Signals

ROUND_S = 5.0
"""How often wanted tables are looked for if nothing wakes us."""

AT_ONCE = 20
INDEX, NAME, VALUE = "INDEX", "NAME", "VALUE"
"""Columns beside the values' own: of index-apply, of group-apply, and of values that are none."""

_decode = msgspec.json.decode
_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "text"}


class Rows:
    """Makes rows of values, and sees that each column holds one kind of thing.

    Args:
        keys: of the groups, in call order.
        skips_null: `null` is a call that failed.
    """

    def __init__(self, verb: str, keys: Sequence[str] | None, *, skips_null: bool = False) -> None:
        self._verb = verb
        self.skips_null = skips_null
        self._keys = keys
        self._kinds: dict[str, tuple[str, str]] = {}
        self.count = 0

    @property
    def columns(self) -> list[str]:
        """Their names, in the order in which they came."""
        return list(self._kinds)

    def of(self, index: int, value: object) -> Iterator[dict[str, object]]:
        """Yield the rows that a call adds.

        Raises:
            NotTabular: names the call and the column.
        """
        where = self._where(index)
        records = value if isinstance(value, list) else [value]
        for number, record in enumerate(records):
            at = f"{where}, row {number + 1}" if isinstance(value, list) else where
            row = record if isinstance(record, dict) else {VALUE: record}
            row = self._marked(index, row)
            for column, cell in row.items():
                self._check(at, column, cell)
            self.count += 1
            yield row

    def _where(self, index: int) -> str:
        if self._verb == GROUP_APPLY and self._keys is not None:
            return f'group "{self._keys[index - 1]}"'
        if self._verb in {DO_EVAL, TABLE_APPLY}:
            return "the result"
        return f"index {index}" if self._verb == INDEX_APPLY else f"chunk {index}"

    def _marked(self, index: int, row: dict[str, object]) -> dict[str, object]:
        """Put the call's index or group before its values, unless they say it themselves."""
        folded = {column.lower() for column in row}
        if self._verb == INDEX_APPLY and INDEX.lower() not in folded:
            return {INDEX: index, **row}
        if self._verb == GROUP_APPLY and self._keys is not None and NAME.lower() not in folded:
            return {NAME: self._keys[index - 1], **row}
        return row

    def _check(self, where: str, column: str, cell: object) -> None:
        if cell is None:
            self._kinds.setdefault(column, ("", where))
            return
        kind = _KINDS.get(type(cell))
        if kind is None:
            what = "a list" if isinstance(cell, list) else "an object"
            raise NotTabular(
                f'The result is no table: {where} has {what} in the column "{column}"; a column '
                "holds numbers, texts or truth values.",
                column=column,
            )
        known, first = self._kinds.get(column, ("", ""))
        if known and known != kind:
            raise NotTabular(
                f'The result is no table: in the column "{column}", {where} has {kind} and '
                f"{first} has {known}.",
                column=column,
            )
        if not known:
            self._kinds[column] = (kind, where)


class ResultTables:
    """Writes the tables that jobs have been asked for, beside the routes.

    Args:
        files: makes the files of tables.
    """

    def __init__(
        self,
        *,
        notes: JobNotes,
        ledger: Ledger,
        blobs: Blobs,
        signals: Signals,
        files: TableFiles,
    ) -> None:
        self._notes = notes
        self._ledger = ledger
        self._blobs = blobs
        self._signals = signals
        self._files = files
        self._reading = Reading(ledger=ledger, blobs=blobs)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._log = structlog.get_logger("fanfold_server.jobs")

    # ------------------------------------------------------------------ life

    def open(self) -> None:
        """Begin."""
        self._unsubscribe = self._signals.subscribe(self._signalled)
        self._task = asyncio.create_task(self._run(), name="writes results as tables")

    async def close(self) -> None:
        """End, in the middle of a table if need be: the next server goes on with it."""
        if self._task is not None:
            self._unsubscribe()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _signalled(self, signal: Signal, _job: str) -> None:
        if signal is Signal.TABLE:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                for job_id in await self._notes.tables_wanted(limit=AT_ONCE):
                    await self._try(job_id)
            except Exception as exc:  # noqa: BLE001  # a database that is away comes back
                self._log.warning("results not written as tables yet", error=repr(exc))
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._wake.wait()

    # ------------------------------------------------------------------ a table

    async def _try(self, job_id: str) -> None:
        """Write one; what fails now is tried again, and does not keep the others waiting."""
        try:
            await self._write(job_id)
        except Exception as exc:  # noqa: BLE001  # e.g. the data process has died with it
            self._log.warning("result not written as a table yet", job=job_id, error=repr(exc))

    async def _write(self, job_id: str) -> None:
        """Write the table of a job, or note why there is none."""
        job = await self._ledger.job(job_id, owner=None)
        if job is None or job.spec.result_table is None:
            return
        try:
            file = await self._made(job, job.spec.result_table)
        except CallerError as exc:
            error = {"errorMessage": exc.message, "errorCode": exc.code, **exc.details}
            await self._notes.refuse_table(job_id, orjson.dumps(error).decode())
            self._log.info("result is no table", job=job_id, error=exc.message)
            return
        if file is not None:
            await self._files.discard(file)

    async def _made(self, job: Job, name: str) -> str | None:
        """Make and name the table; gives the file that is of no use any more."""
        data = self._files.incoming()
        try:
            await self._spool(job, data)
            built = await self._files.build(data, DataFormat.NDJSON)
        finally:
            await asyncio.to_thread(data.unlink, missing_ok=True)
        table = TableInfo(
            owner=job.spec.owner,
            name=name,
            file=built.file,
            rows=built.rows,
            size_bytes=built.size_bytes,
            columns=built.columns,
            created=datetime.now(UTC),
        )
        try:
            is_done, replaced = await self._notes.write_table(
                job.id, table, overwrite=job.spec.table_overwrite
            )
        except CallerError:
            await self._files.discard(built.file)
            raise
        # after any other error it may be named: the next server's start knows which files are
        return replaced if is_done else built.file

    async def _spool(self, job: Job, data: Path) -> None:
        """Write the rows to a file, a stretch of values at a time."""
        keys = None
        if job.spec.verb == GROUP_APPLY:
            keys = (await read_kept(self._blobs, job.id)).keys
        rows = Rows(job.spec.verb, keys, skips_null=bool(job.failed))
        with await asyncio.to_thread(data.open, "xb") as file:
            async for stretch in self._reading.stretches(job.id):
                text = await asyncio.to_thread(_written, rows, stretch)
                await asyncio.to_thread(file.write, text)
        if not rows.count:
            raise NotTabular("The result is no table: it has no rows, and so no columns.")


def _written(rows: Rows, stretch: Stretch) -> bytes:
    """Write the rows of a stretch as JSON lines; calls without a value add none."""
    lines = bytearray()
    for number, line in enumerate(stretch.ndjson.splitlines()):
        if line == b"null" and rows.skips_null:
            continue
        for row in rows.of(stretch.start + number, _exactly(line)):
            lines += _line(row)
            lines += b"\n"
    return bytes(lines)


def _exactly(text: bytes) -> object:
    """Read a value, whole numbers of any length as such.

    Raises:
        NotTabular: it has a number that Python does not read.
    """
    try:
        return _decode(text)
    except msgspec.DecodeError:
        pass
    try:
        value: object = json.loads(text)
    except ValueError as exc:
        raise NotTabular(f"The result is no table: {exc}.") from exc
    return value


def _line(row: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # a whole number of more than 64 bits, or half of a surrogate pair
        return json.dumps(row).encode()
