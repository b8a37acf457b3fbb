"""The compatible surface of v2: environments that are kept started for whoever asks."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from fanfold_server.http.answers import Json
from fanfold_server.http.surface import Caller, CallerRoute, PreloadingOf
from fanfold_server.service.preloading import Preloaded

router = APIRouter(
    prefix="/oml/api/py-scripts/v2/preload", tags=["compatible"], route_class=CallerRoute
)

_TIME = "%b %d, %Y %H:%M:%S UTC"


class PreloadIn(BaseModel):
    """Which environment; members that are not known are ignored, as everywhere on this surface."""

    model_config = ConfigDict(strict=True)

    envName: Annotated[str, Field(description="The environment's name.")]  # noqa: N815  # the wire's
    overwrite: Annotated[
        bool, Field(description="Begin its time anew if it is preloaded already.")
    ] = False


class PreloadAccepted(BaseModel):
    """It is being started."""

    jobId: str  # noqa: N815  # the wire's word
    envName: str  # noqa: N815
    created: str
    expires: str


class PreloadEntry(BaseModel):
    """An environment that you have preloaded."""

    duration: Annotated[str, Field(description="Since then: `0 hrs, 27 mins, 38 secs`.")]
    expires: Annotated[str, Field(description="`Jul 31, 2025 02:37:19 UTC`")]
    created: str
    envName: str  # noqa: N815  # the wire's word


class PreloadList(BaseModel):
    """What you have preloaded."""

    environments: list[PreloadEntry]


class PreloadDropped(BaseModel):
    """It is gone."""

    result: str


@router.post("/conda", response_model=PreloadAccepted)
async def preload_environment(preloading: PreloadingOf, caller: Caller, body: PreloadIn) -> Json:
    """Have an environment started and kept so for a while: your first run need not wait."""
    done = await preloading.preload(caller, body.envName, overwrite=body.overwrite)
    return Json(
        PreloadAccepted(
            jobId=done.id,
            envName=done.environment.name,
            created=_time(done.created),
            expires=_time(done.expires),
        )
    )


@router.get("/conda", response_model=PreloadList)
async def list_preloaded(preloading: PreloadingOf, caller: Caller) -> Json:
    """List what you have preloaded."""
    now = datetime.now(UTC)
    return Json(PreloadList(environments=[_entry(one, now) for one in preloading.listing(caller)]))


@router.delete("/conda/{envName}", response_model=PreloadDropped)
async def drop_preloaded(
    preloading: PreloadingOf,
    caller: Caller,
    name: Annotated[str, Path(alias="envName", description="The environment's name.")],
) -> Json:
    """Keep an environment started no longer."""
    preloading.drop(caller, name)
    return Json(PreloadDropped(result=f"Preloaded environment '{name}' deleted successfully"))


def _entry(one: Preloaded, now: datetime) -> PreloadEntry:
    minutes, seconds = divmod(int((now - one.created).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return PreloadEntry(
        duration=f"{hours} hrs, {minutes} mins, {seconds} secs",
        expires=_time(one.expires),
        created=_time(one.created),
        envName=one.environment.name,
    )


def _time(moment: datetime) -> str:
    return moment.strftime(_TIME)
