"""The client of one of W7's queues: submits jobs one by one, waits for all results, reports.

A number on stdin is how many; a line of JSON on stdout is what came of it. Run in the environment
of the queues, with W7_PEER and W7_URL as `queue_tasks.py` has them.
"""

# ruff: noqa: PLC0415 (each peer's library is there for that peer alone)

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import queue_tasks as tasks

Submit = Callable[[int], Any]
Wait = Callable[[list[Any]], list[int]]

LIMIT_S = 120
PAUSE_S = 0.005


def celery() -> tuple[Submit, Wait]:
    def wait(handles: list[Any]) -> list[int]:
        return [handle.get(timeout=LIMIT_S, interval=0.01) for handle in handles]

    return tasks.task.delay, wait


def huey() -> tuple[Submit, Wait]:
    def wait(handles: list[Any]) -> list[int]:
        options = {"blocking": True, "backoff": 1.0, "max_delay": 0.01, "timeout": LIMIT_S}
        return [handle.get(**options) for handle in handles]

    return tasks.task, wait


def rq() -> tuple[Submit, Wait]:
    import redis
    from rq import Queue
    from rq.job import Job

    connection = redis.Redis.from_url(tasks.URL)
    queue = Queue(connection=connection)

    def wait(handles: list[Any]) -> list[int]:
        ids, found = [handle.id for handle in handles], {}
        until = time.monotonic() + LIMIT_S
        while left := [one for one in ids if one not in found]:
            if time.monotonic() > until:
                raise TimeoutError
            for job in Job.fetch_many(left[:50], connection=connection):
                if job.is_failed:
                    raise RuntimeError(job.exc_info)
                if not job.is_finished:
                    break
                found[job.id] = job.return_value()
            time.sleep(PAUSE_S)
        return [found[one] for one in ids]

    return lambda i: queue.enqueue(tasks.sq, i), wait


def dbos() -> tuple[Submit, Wait]:
    from dbos import DBOS

    config: Any = {
        "name": "w7-bench",
        "system_database_url": tasks.URL,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    workflow = DBOS.workflow()(tasks.sq)
    DBOS.launch()
    DBOS.register_queue("w7q", polling_interval_sec=0.05)

    def wait(handles: list[Any]) -> list[int]:
        return [handle.get_result() for handle in handles]

    return lambda i: DBOS.enqueue_workflow("w7q", workflow, i), wait


def saq(loop: asyncio.AbstractEventLoop) -> tuple[Submit, Wait]:
    loop.run_until_complete(tasks.queue.connect())

    async def results(handles: list[Any]) -> list[int]:
        async with asyncio.timeout(LIMIT_S):
            for handle in handles:
                await handle.refresh()
                while not handle.completed:
                    await asyncio.sleep(PAUSE_S)
                    await handle.refresh()
        return [handle.result for handle in handles]

    def submit(i: int) -> Any:
        return loop.run_until_complete(tasks.queue.enqueue("saq_sq", i=i, ttl=600))

    return submit, lambda handles: loop.run_until_complete(results(handles))


def procrastinate(loop: asyncio.AbstractEventLoop) -> tuple[Submit, Wait]:
    import psycopg

    loop.run_until_complete(tasks.app.open_async())
    database = psycopg.connect(tasks.URL, autocommit=True)
    counted = "select count(*) from procrastinate_jobs where id = any(%s) and status = 'succeeded'"

    def wait(ids: list[Any]) -> list[int]:
        until = time.monotonic() + LIMIT_S
        while (row := database.execute(counted, (ids,)).fetchone()) and row[0] < len(ids):
            if time.monotonic() > until:
                raise TimeoutError
            time.sleep(PAUSE_S)
        return [i * i for i in range(1, len(ids) + 1)]  # it keeps no results

    def submit(i: int) -> Any:
        deferring: Awaitable[Any] = tasks.task.defer_async(i=i)
        return loop.run_until_complete(_awaited(deferring))

    return submit, wait


async def _awaited(what: Awaitable[Any]) -> Any:
    return await what


def chosen() -> tuple[Submit, Wait]:
    blocking = {"celery": celery, "huey": huey, "rq": rq, "dbos": dbos}
    if tasks.PEER in blocking:
        return blocking[tasks.PEER]()
    loop = asyncio.new_event_loop()
    return {"saq": saq, "procrastinate": procrastinate}[tasks.PEER](loop)


def run(submit: Submit, wait: Wait, count: int) -> dict[str, object]:
    times, handles = [], []
    began = time.perf_counter()
    for i in range(1, count + 1):
        before = time.perf_counter()
        handles.append(submit(i))
        times.append(time.perf_counter() - before)
    values = wait(handles)
    seconds = time.perf_counter() - began
    if values != [i * i for i in range(1, count + 1)]:
        return {"error": f"wrong results: {values[:3]}"}
    return {"seconds": seconds, "submits": times}


def answers() -> Iterator[dict[str, object]]:
    submit, wait = chosen()
    yield {"ready": True}
    for line in sys.stdin:
        try:
            yield run(submit, wait, int(line))
        except Exception as exc:  # noqa: BLE001 (whatever it is, the bench is told)
            yield {"error": repr(exc)[:500]}


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", buffering=1) as told:
        os.dup2(2, 1)  # what libraries print goes to the log
        for answer in answers():
            print(json.dumps(answer), file=told)
    os._exit(0)
