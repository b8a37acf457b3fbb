"""What a callback says and what proves that we say it; and an account's means to check it.

A message is small and the same at every attempt: a job that has ended never changes. It says that a
job ended, how, and where to look; never what the job returned, printed or was given.

Source: Standard Webhooks (headers, form of secret and signature, several signatures while a secret
is replaced, 410 for an address that is gone).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from fanfold_server.model.actor import Actor
from fanfold_server.model.callback import Delivery, Secrets, delivery_id
from fanfold_server.model.errors import UnknownJob
from fanfold_server.model.job import Job
from fanfold_server.store.port import CallbackStore, Ledger

SECRET_BYTES = 32
TYPE = "job.ended"

_PREFIX = "whsec_"


class Callbacks:
    """The use cases of callbacks, but for sending them, which `delivering.py` does."""

    def __init__(self, *, store: CallbackStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def secrets(self, actor: Actor) -> Secrets:
        """Give the actor's secrets; the first look makes the first one."""
        return await self._store.secrets(actor.name, new=new_secret(), now=datetime.now(UTC))

    async def rotate(self, actor: Actor) -> Secrets:
        """Replace the actor's secret; for a day messages bear both signatures."""
        return await self._store.rotate(actor.name, new=new_secret(), now=datetime.now(UTC))

    async def deliveries(self, actor: Actor, job_id: str) -> list[Delivery]:
        """List what is, or was, to be told of a job; nothing before its end. Raises UnknownJob."""
        if await self._ledger.job(job_id, owner=actor.name) is None:
            raise UnknownJob(f"There is no job {job_id} of yours.")
        found = await self._store.delivery(job_id)
        return [] if found is None else [found]


def new_secret() -> bytes:
    """Draw a secret."""
    return secrets.token_bytes(SECRET_BYTES)


def written(secret: bytes) -> str:
    """Write a secret as receivers expect it."""
    return _PREFIX + base64.b64encode(secret).decode()


def message_of(job: Job) -> bytes:
    """Return what is told of a job that has ended."""
    spec = job.spec
    own = f"{spec.callback_origin or ''}/api/v1/jobs/{job.id}"
    return orjson.dumps(
        {
            "type": TYPE,
            "timestamp": _iso(job.finished),
            "data": {
                "id": job.id,
                "state": job.state.value,
                "verb": spec.verb,
                "script": {
                    "name": spec.script_name,
                    "owner": spec.script_owner,
                    "version": spec.script_version,
                },
                "times": spec.times,
                "returned": job.returned,
                "failed": job.failed,
                "created": _iso(job.created),
                "started": _iso(job.started),
                "finished": _iso(job.finished),
                "links": {
                    "job": own,
                    "results": f"{own}/results",
                    "errors": f"{own}/errors",
                },
            },
        }
    )


def headers_of(job: str, body: bytes, keys: Sequence[bytes], now: datetime) -> dict[str, str]:
    """Return the headers that say which message this is, from when, and that it is ours."""
    name, second = delivery_id(job), str(int(now.timestamp()))
    signed = f"{name}.{second}.".encode() + body
    return {
        "webhook-id": name,
        "webhook-timestamp": second,
        "webhook-signature": " ".join(f"v1,{_signature(key, signed)}" for key in keys),
        "content-type": "application/json",
    }


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _iso(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
