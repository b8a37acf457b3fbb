"""The environments in which functions run: look at them, have them built, and watch that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanfold.faults import BuildFailed, NotSendable
from fanfold.messages import Pause, Request, Steps, json_body, path, query
from fanfold.records import Build, BuiltEnvironment, Environment, read
from fanfold.verbs import D, Part, verb

if TYPE_CHECKING:
    from fanfold.progress import Bar

RUNNABLE = "/oml/api/py-scripts/v2/envs"
BUILT = "/api/v1/environments"
BUILDS = "/api/v1/environment-builds"

_ACCEPTED = 202
_PERCENT = 100
_PAUSE_S = 0.5
_LOG_TAIL = 2000


class Environments(Part[D]):
    """The environments in which functions run."""

    @verb
    def list(self) -> Steps[Sequence[Environment]]:
        """List the environments that a run may name."""
        found = yield from self._get(RUNNABLE, {})
        return [read(Environment, entry) for entry in found["result"]["envs"]]

    @verb
    def describe(self, name: str) -> Steps[BuiltEnvironment]:
        """Describe an environment that the server has built: versions, packages, who wants it."""
        return read(BuiltEnvironment, (yield from self._get(path(BUILT, name), {})))

    @verb
    def create(
        self,
        name: str,
        packages: Sequence[str] | None = None,
        *,
        spec: str | Path | None = None,
        channels: Sequence[str] | None = None,
        maker: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
        wait: bool = True,
    ) -> Steps[BuiltEnvironment | Build]:
        """Have an environment built, and wait for it; one made from the same is left as it is.

        Args:
            name: of the environment.
            packages: with versions, such as "numpy==2.4"; `python=3.12` says which Python.
            spec: in place of them, a file: environment.yml, requirements.txt or pyproject.toml.
            channels: then the packages are conda's.
            maker: uv, rattler, conda, mamba or micromamba.
            overwrite: make another version of one that is there.
            wait: for its end; else the build is given, see `build`.

        Raises:
            BuildFailed: it did; the message says why, `details["log"]` has the end of the log.
            Forbidden: this server lets administrators alone build environments.
        """
        members: dict[str, object] = {"name": name, "overwrite": overwrite}
        if spec is not None:
            members |= _file(spec)
        optional = {
            "packages": None if packages is None else [*packages],
            "channels": None if channels is None else [*channels],
            "maker": maker,
            "description": description,
            "tags": None if tags is None else {**tags},
        }
        members |= {member: value for member, value in optional.items() if value is not None}
        body, headers = json_body(members)
        answer = yield from self._session.send(
            Request("POST", BUILT, body=body, headers=headers, may_repeat=True)
        )
        if answer.status != _ACCEPTED:
            return read(BuiltEnvironment, answer.json())
        build = read(Build, answer.json())
        if not wait:
            return build
        with self._display.bar(f"building {name}", _PERCENT) as bar:
            yield from self._ended(build, bar)
        return read(BuiltEnvironment, (yield from self._get(path(BUILT, name), {})))

    @verb
    def build(self, build_id: str) -> Steps[Build]:
        """Say how far a build is."""
        return read(Build, (yield from self._get(path(BUILDS, build_id), {})))

    @verb
    def builds(self) -> Steps[Sequence[Build]]:
        """List your builds, the newest first; an administrator sees all."""
        found = yield from self._get(BUILDS, {})
        return [read(Build, entry) for entry in found["builds"]]

    @verb
    def log(self, build_id: str) -> Steps[str]:
        """Give what a build has said so far."""
        return (yield from self._log(build_id))

    @verb
    def roll_back(self, name: str, version: int) -> Steps[None]:
        """Let what begins from now on run in another version."""
        body, headers = json_body({"version": version})
        where = path(BUILT, name, "rollback")
        yield from self._session.send(
            Request("POST", where, body=body, headers=headers, may_repeat=True)
        )

    @verb
    def drop(self, name: str, version: int | None = None) -> Steps[None]:
        """Remove an environment, or a version of it, once nothing runs there."""
        request = Request("DELETE", path(BUILT, name), query=query(version=version))
        yield from self._session.send(request)

    # -------------------------------------------------------------------------------------- inside

    def _ended(self, build: Build, bar: Bar) -> Steps[None]:
        """Wait for the end of a build.

        Raises:
            BuildFailed: it has.
        """
        while not build.has_ended:
            bar.step(int(build.progress * _PERCENT), build.step)
            yield Pause(_PAUSE_S)
            build = read(Build, (yield from self._get(path(BUILDS, build.id), {})))
        if build.state == "failed":
            log = yield from self._log(build.id)
            raise BuildFailed(
                f'The environment "{build.name}" was not made: {build.error}',
                details={"build": build.id, "log": log[-_LOG_TAIL:]},
            )

    def _log(self, build_id: str) -> Steps[str]:
        request = Request("GET", path(BUILDS, build_id, "log"), may_repeat=True)
        return (yield from self._session.send(request)).body.decode("utf-8", "replace")

    def _get(self, where: str, asked: Mapping[str, str]) -> Steps[Any]:
        request = Request("GET", where, query=asked, may_repeat=True)
        return (yield from self._session.send(request)).json()


def _file(spec: str | Path) -> dict[str, object]:
    """Read a file that says what an environment is made of.

    Raises:
        NotSendable: there is none.
    """
    file = Path(spec)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise NotSendable(f"{file} cannot be read: {exc.strerror}.") from exc
    named = {".yml": "environment.yml", ".yaml": "environment.yml", ".txt": "requirements.txt"}
    return {"spec": text, "format": named.get(file.suffix.lower(), file.name)}
