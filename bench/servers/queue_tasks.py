"""The tasks of W7's queues, for their workers and their drivers; the peer is named by W7_PEER."""

import os
from typing import Any

PEER = os.environ.get("W7_PEER", "")
URL = os.environ.get("W7_URL", "")


def sq(i: int) -> int:
    return i * i


app: Any = None
task: Any = None
settings: Any = None
queue: Any = None

if PEER == "celery":
    from celery import Celery

    app = Celery("queue_tasks", broker=URL, backend=URL)
    app.conf.update(worker_prefetch_multiplier=16, task_acks_late=True)
    app.conf.broker_connection_retry_on_startup = True
    task = app.task(name="sq")(sq)
elif PEER == "huey":
    from huey import SqliteHuey

    app = SqliteHuey("w7", filename=URL, fsync=True)
    task = app.task()(sq)
elif PEER == "saq":
    from saq import Queue

    queue = Queue.from_url(URL)

    async def saq_sq(_: object, *, i: int) -> int:
        return sq(i)

    settings = {"queue": queue, "functions": [saq_sq], "concurrency": 10}
elif PEER == "procrastinate":
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL))

    @app.task(name="sq")
    async def task(i: int) -> int:
        return sq(i)
