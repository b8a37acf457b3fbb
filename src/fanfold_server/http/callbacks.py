"""What is told of jobs' ends to whoever asked for it, and the secret that signs it."""

from datetime import datetime
from typing import Annotated, Final, Self

from fastapi import APIRouter
from pydantic import Field

from fanfold_server.http.answers import AnswerBody, Json
from fanfold_server.http.jobs_paths import JobId
from fanfold_server.http.schemas import iso_ms
from fanfold_server.http.surface import CallbacksOf, Caller, CallerRoute
from fanfold_server.model.callback import Delivery, DeliveryState, Secrets
from fanfold_server.service.callbacks import written

ROOT: Final = "/api/v1"
router = APIRouter(prefix=ROOT, tags=["callbacks"], route_class=CallerRoute)


class DeliveryOut(AnswerBody):
    """The news of a job's end on its way."""

    id: Annotated[str, Field(description="The header `webhook-id`, the same at every attempt.")]
    url: str
    state: DeliveryState
    attempts: int
    created: Annotated[str, Field(description="When the job ended.")]
    next_attempt: Annotated[str | None, Field(description="While it waits.")]
    last_attempt: str | None
    last_status: Annotated[int | None, Field(description="What the last attempt was answered.")]
    last_error: Annotated[str | None, Field(description="Why the last attempt failed.")]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Describe a delivery."""
        waits = delivery.state is DeliveryState.WAITING
        return cls(
            id=delivery.id,
            url=delivery.url,
            state=delivery.state,
            attempts=delivery.attempts,
            created=iso_ms(delivery.created),
            next_attempt=iso_ms(delivery.due) if waits else None,
            last_attempt=_moment(delivery.last),
            last_status=delivery.status,
            last_error=delivery.error,
        )


class DeliveryList(AnswerBody):
    """What is told of a job; nothing before its end, or if nobody is to be told."""

    deliveries: list[DeliveryOut]


class SecretOut(AnswerBody):
    """With what messages to you are signed: HMAC-SHA256 over `id.timestamp.body`."""

    secret: Annotated[str, Field(description="`whsec_` and the key in Base64.")]
    before: Annotated[
        str | None, Field(description="The one before it, while messages bear both signatures.")
    ]
    rotated: Annotated[str, Field(description="Since when it is valid.")]

    @classmethod
    def of(cls, secrets: Secrets) -> Self:
        """Describe an account's secrets."""
        key, *before = map(written, secrets.keys)
        return cls(
            secret=key, before=before[0] if before else None, rotated=iso_ms(secrets.rotated)
        )


@router.get("/jobs/{jobId}/deliveries", response_model=DeliveryList)
async def list_deliveries(callbacks: CallbacksOf, caller: Caller, job_id: JobId) -> Json:
    """See whether a job's `callbackUrl` has been told of its end: attempts and the last answer."""
    found = await callbacks.deliveries(caller, job_id)
    return Json(DeliveryList(deliveries=[DeliveryOut.of(one) for one in found]))


@router.get("/callback-secret", response_model=SecretOut)
async def read_secret(callbacks: CallbacksOf, caller: Caller) -> Json:
    """Read the secret by which you can check that a message comes from this server."""
    return Json(SecretOut.of(await callbacks.secrets(caller)))


@router.post("/callback-secret/rotate", response_model=SecretOut)
async def rotate_secret(callbacks: CallbacksOf, caller: Caller) -> Json:
    """Take a new secret. For 24 hours messages are signed with the one before, too."""
    return Json(SecretOut.of(await callbacks.rotate(caller)))


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else iso_ms(moment)
