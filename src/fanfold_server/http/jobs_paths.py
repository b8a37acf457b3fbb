"""Words of the paths and query parameters of jobs, on both surfaces."""

import re
from typing import Annotated, Final

from fastapi import Depends, Path

from fanfold_server.model.errors import UnknownJob

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


async def _job_id(
    job_id: Annotated[str, Path(alias="jobId", description="The job's id, a UUID.")],
) -> str:
    """Read a job's id. What is no id at all never reaches the store."""
    text = job_id.lower()
    if not _UUID.fullmatch(text):
        raise UnknownJob(f'There is no job "{job_id}" that is yours; a job\'s id is a UUID.')
    return text


JobId = Annotated[str, Depends(_job_id)]
