"""What operators watch, in the text format of Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from fanfold_server.http.counting import Requests
from fanfold_server.http.surface import Caller, CallerRoute, SurfaceOf
from fanfold_server.model.actor import Scope
from fanfold_server.model.metric import Family, Labels
from fanfold_server.service.tokens import require

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

router = APIRouter(prefix="/metrics", tags=["server"], route_class=CallerRoute)


@router.get("", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def show_metrics(request: Request, surface: SurfaceOf, caller: Caller) -> Response:
    """Say how the server does, in the text format of Prometheus; for administrators.

    An access token needs the scope `metrics`.
    """
    require(caller, Scope.METRICS)
    requests: Requests = request.app.state.requests
    families = [*requests.families(), *await surface.figures()]
    return Response(written(families), headers={"content-type": TEXT})


def written(families: Iterable[Family]) -> bytes:
    """Write families as text; those without samples are only announced."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.meaning}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [
            f"{family.name}{sample.suffix}{_labels(sample.labels)} {sample.value!r}"
            for sample in family.samples
        ]
    return ("\n".join(lines) + "\n").encode()


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels)
    return f"{{{pairs}}}"
