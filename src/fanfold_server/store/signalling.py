"""`Signals` within a process, and between those that share a PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fanfold_server.store.port import Signal

Take = Callable[[Signal, str], None]


class Hub:
    """`Signals`: whoever subscribes is told what is told to the hub."""

    def __init__(self) -> None:
        self._takers: dict[object, Take] = {}

    def subscribe(self, take: Take) -> Callable[[], None]:
        key = object()
        self._takers[key] = take
        return lambda: self._takers.pop(key, None) and None

    def tell(self, signals: Sequence[tuple[Signal, str]]) -> None:
        """Pass signals on; in the event loop."""
        for take in list(self._takers.values()):
            for signal, job in signals:
                take(signal, job)
