"""The peers of a run: all started once; only the one being measured is awake."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from bench.peers import Peer


class Fleet:
    """Starts peers and ends them; those that do not start are left out, with a word about it."""

    def __init__(self, kinds: Sequence[type[Peer]], scratch: Path) -> None:
        self._kinds = kinds
        self._scratch = scratch
        self.peers: list[Peer] = []
        self.missing: list[str] = []

    def __enter__(self) -> Self:
        try:
            for kind in self._kinds:
                self._start(kind(self._scratch))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers:
            with contextlib.suppress(Exception):
                peer.end()

    def _start(self, peer: Peer) -> None:
        try:
            peer.start()
        except Exception as exc:  # noqa: BLE001 (a peer that is not there must not end the run)
            print(f"  {peer.name} did not start and is left out: {exc}", flush=True)
            self.missing.append(peer.name)
            peer.end()
            return
        peer.rest()
        self.peers.append(peer)
        print(f"  started {peer.name}", flush=True)

    def round(self, workload: str, number: int) -> Iterator[Peer]:
        """Yield each peer that serves the workload, awake; every other round backwards."""
        peers = [peer for peer in self.peers if workload in peer.workloads]
        for peer in peers if number % 2 == 0 else reversed(peers):
            with peer.awake():
                yield peer
