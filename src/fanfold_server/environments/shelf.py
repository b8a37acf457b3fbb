"""The environments that are built here, in versions: the `Shelf` of the port.

A version is made at its final path, since paths are written into its files, and is one when its
manifest is there. Whatever lies beside it without a manifest is what a killed build has left, and
goes before the next.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fanfold_server.environments.making import Making, digest_of
from fanfold_server.environments.places import Places, is_held_by_any, try_lock
from fanfold_server.environments.port import Confine, Installer, Probe
from fanfold_server.environments.records import (
    build_text,
    made_text,
    read_build,
    read_made,
    write_whole,
)
from fanfold_server.model.environment import Build, BuildState, Environment, Made, Maker, Order
from fanfold_server.model.errors import BuildFailed, EnvironmentExists, FanfoldError

KEPT_BUILDS = 200
"""How many builds are remembered."""

_POLL_S = 0.1
_INTERRUPTED = "The build was interrupted: the process that made it has ended."


class BuiltShelf:
    """Keeps what is built below one directory.

    Args:
        places: where everything lies.
        installers: who makes what.
        probe: starts what has been made.
        confine: puts commands into the sandbox.
    """

    def __init__(
        self,
        places: Places,
        installers: Mapping[Maker, Installer],
        probe: Probe,
        confine: Confine,
    ) -> None:
        self._places = places
        self._installers = installers
        self._probe = probe
        self._confine = confine
        self._read: dict[Path, Made] = {}

    # ------------------------------------------------------------------ what there is

    def names(self) -> list[str]:
        if not self._places.versions.is_dir():
            return []
        return sorted(p.name for p in self._places.versions.iterdir() if self.versions(p.name))

    def versions(self, name: str) -> list[Made]:
        folder = self._places.folder(name)
        manifests = sorted(folder.glob("*.json"), key=lambda p: int(p.stem), reverse=True)
        return [made for path in manifests if (made := self._manifest(path)) is not None]

    def current(self, name: str) -> Made | None:
        try:
            version = int(self._places.link(name).readlink().name)
        except (OSError, ValueError):
            return None
        return self._manifest(self._places.manifest(name, version))

    def environment(self, made: Made) -> Environment:
        """Return a version as runs need it."""
        return Environment(
            name=made.name,
            prefix=made.prefix,
            kind=made.recipe.kind,
            variables=dict(made.variables),
            version=made.version,
            preload=made.preload,
            use=self._places.use(made.name, made.version),
        )

    def at(self, prefix: Path) -> Made | None:
        """Return the version that lies at a path, if one of ours does."""
        if prefix.parent.parent != self._places.versions or not prefix.name.isdigit():
            return None
        return self._manifest(self._places.manifest(prefix.parent.name, int(prefix.name)))

    def has(self, prefix: Path) -> bool:
        """Tell whether a path is one of a version's, whole or not."""
        return prefix.parent.parent == self._places.versions

    def find(self, name: str, version: int) -> Made | None:
        """Return a version of an environment; None if there is no such."""
        return self._manifest(self._places.manifest(name, version))

    def lock_of(self, made: Made) -> str:
        return self._places.lock(made.name, made.version).read_text()

    def last_used(self, made: Made) -> datetime | None:
        """Tell when something last ran in a version; None: never."""
        use = self._places.use(made.name, made.version).stat()
        return datetime.fromtimestamp(use.st_mtime, UTC) if use.st_mtime else None

    def is_warm(self, made: Made) -> bool:
        """Tell whether an interpreter has started in a version, of whatever server of this machine.

        Source: `fcntl.flock` in `engine.uses`, as /proc/locks shows it.
        """
        return is_held_by_any(self._places.use(made.name, made.version))

    def _manifest(self, path: Path) -> Made | None:
        """Read a manifest once: it never changes; but it goes when its version does."""
        if not path.exists():
            self._read.pop(path, None)
            return None
        made = self._read.get(path) or read_made(path)
        if made is not None:
            self._read[path] = made
        return made

    # ------------------------------------------------------------------ builds

    def builds(self) -> list[Build]:
        found = [build for path in self._places.builds.glob("*.json") if (build := self._at(path))]
        return sorted(found, key=lambda build: (build.created, build.id), reverse=True)

    def log(self, build_id: str) -> str | None:
        if self._at(self._places.builds / f"{build_id}.json") is None:
            return None
        path = self._places.builds / f"{build_id}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _at(self, path: Path) -> Build | None:
        build = read_build(path)
        if build is None or build.state.is_final or self._places.is_held(build.name):
            return build
        build = read_build(path)  # it may have ended between the two looks
        if build is None or build.state.is_final:
            return build
        return replace(build, state=BuildState.FAILED, error=_INTERRUPTED)

    def remember(self, build: Build) -> None:
        """Write down how far a build is."""
        write_whole(self._places.builds / f"{build.id}.json", build_text(build))

    async def build(self, order: Order, build: Build) -> Made:
        await asyncio.to_thread(self._places.prepare)
        async with self._places.held(order.name) as guard:
            self.remember(replace(build, state=BuildState.RUNNING))
            try:
                made = await self._build(order, build, guard)
            except FanfoldError as exc:
                self._ended(build, BuildState.FAILED, error=exc.message)
                raise
            except OSError as exc:
                why = f"{exc.filename or order.name}: {exc.strerror or exc}"
                self._ended(build, BuildState.FAILED, error=why)
                raise BuildFailed(why) from exc
            except BaseException:
                self._ended(build, BuildState.FAILED, error=_INTERRUPTED)
                raise
            self._ended(build, BuildState.READY, version=made.version)
        return made

    def _ended(
        self,
        build: Build,
        state: BuildState,
        *,
        version: int | None = None,
        error: str | None = None,
    ) -> None:
        is_ready = state is BuildState.READY
        last = read_build(self._places.builds / f"{build.id}.json") or build
        self.remember(
            replace(
                last,
                state=state,
                step="ready" if is_ready else last.step,
                progress=1.0 if is_ready else last.progress,
                finished=datetime.now(UTC),
                version=version,
                error=error,
            )
        )
        for old in self.builds()[KEPT_BUILDS:]:
            for ending in ("json", "log"):
                (self._places.builds / f"{old.id}.{ending}").unlink(missing_ok=True)

    async def _build(self, order: Order, build: Build, guard: int) -> Made:
        await asyncio.to_thread(self._sweep, order.name)
        log = self._places.builds / f"{build.id}.log"
        current = self.current(order.name)
        link = self._places.link(order.name)
        if current is None and (link.exists() or link.is_symlink()):
            raise EnvironmentExists(
                f'The environment "{order.name}" is registered, and not built here: choose another '
                "name, or remove its link."
            )
        if current is not None and not order.replaces:
            if order.is_met_by(current):
                return current
            raise EnvironmentExists(
                f'There is an environment "{order.name}", made from something else: an update '
                "makes another version of it.",
            )
        making = Making(
            self._installers,
            self._probe,
            self._confine,
            say=lambda step, done: self._step(build, step, done),
        )
        self._step(build, "solve", 0.0)
        parcel = order.parcel
        lock = parcel.lock if parcel else await making.lock(order.recipe, log, guard)
        digest = digest_of(lock)
        if current is not None and _is_same(current, order, digest):
            return current
        version = self._next(order.name)
        prefix = self._places.prefix(order.name, version)
        self._places.use(order.name, version).touch()
        os.utime(self._places.use(order.name, version), (0, 0))
        unfinished = Made(
            name=order.name,
            version=version,
            owner=current.owner if current else order.owner,
            recipe=order.recipe,
            description=order.description,
            tags=order.tags,
            prefix=prefix,
            python="",
            packages={},
            size_bytes=0,
            variables=order.recipe.variables,
            preload=None,
            lock_digest=digest,
            created=datetime.now(UTC),
        )
        try:
            source = parcel.at_hand if parcel else lock
            made, installed = await making.make(unfinished, source, log, guard, self.environment)
            if parcel is None:  # it may have been solved while it was installed
                lock = installed
            made = replace(made, lock_digest=digest_of(lock))
            write_whole(self._places.lock(order.name, version), lock)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._remove, order.name, version))
            raise
        write_whole(self._places.manifest(order.name, version), made_text(made))
        self._places.point(order.name, version)
        return made

    def _step(self, build: Build, step: str, progress: float) -> None:
        self.remember(replace(build, state=BuildState.RUNNING, step=step, progress=progress))

    def _next(self, name: str) -> int:
        """Count a version; numbers are never given twice, not even after all are dropped."""
        last = self._places.folder(name) / "last"
        number = int(last.read_text()) + 1 if last.exists() else 1
        write_whole(last, str(number))
        return number

    def _sweep(self, name: str) -> None:
        """Remove what killed builds and removals have left."""
        folder = self._places.folder(name)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        for prefix in [path for path in folder.iterdir() if path.is_dir()]:
            if not (folder / f"{prefix.name}.json").exists():
                self._remove(name, int(prefix.name))
        for other in self._places.trash.iterdir():
            if other.stat().st_uid == os.geteuid():
                self._places.discard(other)

    def _remove(self, name: str, version: int) -> None:
        self._places.discard(self._places.prefix(name, version))
        self._places.lock(name, version).unlink(missing_ok=True)
        self._places.use(name, version).unlink(missing_ok=True)

    # ------------------------------------------------------------------ turning and dropping

    def make_current(self, name: str, version: int) -> bool:
        if self.find(name, version) is None:
            return False
        self._places.point(name, version)
        return True

    async def drop(self, made: Made, *, wait_s: float) -> bool:
        name, version = made.name, made.version
        manifest = self._places.manifest(name, version)
        async with self._places.held(name):
            if not manifest.exists():
                return True
            was_current = self.current(name) == made
            if was_current:
                self._places.link(name).unlink()
            aside = manifest.with_suffix(".going")
            manifest.rename(aside)  # nothing begins there any more
            use = self._places.use(name, version)
            used = use.stat()
            use.write_text("leave")  # whoever has processes there ends them when they are idle
            if not await _is_free(use, wait_s):
                use.write_text("")
                os.utime(use, (used.st_atime, used.st_mtime))
                aside.rename(manifest)
                if was_current:
                    self._places.point(name, version)
                return False
            await asyncio.to_thread(self._remove, name, version)
            aside.unlink()
            if was_current:
                others = self.versions(name)
                if others:
                    self._places.point(name, others[0].version)
        return True


async def _is_free(use: Path, wait_s: float) -> bool:
    """Wait until no process runs in a version; those that are idle leave by themselves."""
    descriptor = os.open(use, os.O_RDWR | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(wait_s):
            while not try_lock(descriptor):  # noqa: ASYNC110  # other processes have it
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_same(current: Made, order: Order, lock_digest: str) -> bool:
    return (
        current.lock_digest == lock_digest
        and current.recipe.variables == order.recipe.variables
        and current.description == order.description
        and current.tags == order.tags
    )
