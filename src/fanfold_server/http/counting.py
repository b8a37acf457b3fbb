"""Requests, counted by route, method and status, and timed by route: plain numbers.

Routes are those of the OpenAPI document, never what a client sent, so that there are only so many.
"""

from __future__ import annotations

from typing import Final

from fanfold_server.model.metric import Durations, Family, MetricKind, Sample, counter

ELSEWHERE: Final = "other"
"""Of requests that no route has answered, and of methods that no route has."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

_Key = tuple[str, str, int]


class Requests:
    """Counts on the event loop; read by whoever scrapes."""

    def __init__(self) -> None:
        self._times: dict[_Key, Durations] = {}

    def count(self, route: str, method: str, status: int, elapsed_s: float) -> None:
        """Note a request that is over; status 0: no answer was begun."""
        times = self._times.get((route, method, status))  # every run passes here: one look-up
        if times is None:
            times = self._first(route, method, status)
        times.note(elapsed_s)

    def _first(self, route: str, method: str, status: int) -> Durations:
        key = (route, method if method in _METHODS else ELSEWHERE, status)
        return self._times.setdefault(key, Durations())

    def families(self) -> list[Family]:
        """Give the counts."""
        routes: dict[str, Durations] = {}
        for (route, _, _), times in self._times.items():
            routes.setdefault(route, Durations()).add(times)
        return [
            counter(
                "fanfold_requests_total",
                "Requests that are over; status 0 is one that got no answer.",
                *(
                    Sample(
                        value=times.count,
                        labels=(("route", route), ("method", method), ("status", str(status))),
                    )
                    for (route, method, status), times in self._times.items()
                ),
            ),
            Family(
                name="fanfold_request_duration_seconds",
                kind=MetricKind.HISTOGRAM,
                meaning="How long requests took, to the last byte of the answer.",
                samples=tuple(
                    sample
                    for route, times in routes.items()
                    for sample in times.samples((("route", route),))
                ),
            ),
        ]
