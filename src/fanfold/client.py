"""The clients: `Client` blocks, `AsyncClient` awaits; all else is the same (see `verbs.py`)."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic
from urllib.parse import urlsplit

from fanfold import errors
from fanfold import profile as profiles
from fanfold.datastores import Datastores
from fanfold.environments import Environments
from fanfold.faults import NotLoggedIn
from fanfold.jobs import JOBS, Job
from fanfold.messages import Give, Request, Steps, query
from fanfold.options import Options
from fanfold.progress import Display
from fanfold.records import JobInfo, read
from fanfold.repository import Scripts, Tables
from fanfold.runs import Run, Runs, answer_of
from fanfold.session import Login, Session
from fanfold.transport import Awaiting, Blocking
from fanfold.verbs import D, Part, stream_of, verb

if TYPE_CHECKING:
    from pathlib import Path

_FAN_OUT = frozenset({"index-apply", "row-apply", "group-apply"})
_PAGE = 100


class Background(Runs[D, Job[D]]):
    """Runs functions as jobs: what each method gives is the `Job`."""

    def _finish(self, run: Run) -> Steps[Job[D]]:
        return (yield from submitted(run, self._driver, self._session, self._display))


class Jobs(Part[D], Generic[D]):
    """One's jobs."""

    @stream_of(JobInfo)
    def list(
        self,
        state: str | None = None,
        script: str | None = None,
        comments: str | None = None,
    ) -> Steps[None]:
        """Give one's jobs, the newest first; those that match every filter."""
        after = None
        while True:
            asked = query(state=state, script=script, comments=comments, after=after, limit=_PAGE)
            request = Request("GET", JOBS, query=asked, may_repeat=True)
            page = (yield from self._session.send(request)).json()
            for entry in page["jobs"]:
                yield Give(read(JobInfo, entry))
            after = page["next"]
            if after is None:
                return

    def get(self, job_id: str) -> Job[D]:
        """Take up a job by its id."""
        return Job(self._driver, self._session, self._display, job_id)


class _Client(Runs[D, Any], Generic[D]):
    """What both clients have.

    Attributes:
        scripts, script: stored functions; the latter is OML4Py's name.
        tables: tables that queries may name.
        ds: objects that are kept between runs.
        environments: where functions run.
        jobs: one's jobs.
    """

    def __init__(self, driver: D, session: Session, display: Display, options: Options) -> None:
        super().__init__(driver, session, display, options)
        self.scripts: Scripts[D] = Scripts(driver, session, display)
        self.script = self.scripts
        self.tables: Tables[D] = Tables(driver, session, display)
        self.environments: Environments[D] = Environments(driver, session, display)
        self.jobs: Jobs[D] = Jobs(driver, session, display)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"

    @property
    def url(self) -> str:
        """The server's address."""
        return self._session.url

    @property
    def background(self) -> Background[D]:
        """The same runs as jobs: `client.background.index_apply(...)` gives a `Job`."""
        return Background(self._driver, self._session, self._display, self._options)

    def job(self, job_id: str) -> Job[D]:
        """Take up a job by its id, also one that another process has submitted."""
        return Job(self._driver, self._session, self._display, job_id, self._options)

    @property
    def ds(self) -> Datastores[D]:
        """Objects that are kept between runs, by OML4Py's name."""
        # what is saved and loaded is so in the environment of `using`, and is no run of the user's
        plain = Options(
            environment=self._options.environment, service=self._options.service, frames=False
        )
        twin = self.using(**vars(plain))
        return Datastores(self._driver, self._session, self._display, twin, self._options)

    @verb
    def grant(self, name: str, typ: str = "pyqscript", user: str | None = None) -> Steps[None]:
        """Grant a script or a datastore, as OML4Py's `oml.grant`; to everyone without a user.

        Args:
            typ: "pyqscript" or "datastore".
        """
        if _is_datastore(typ):
            yield from Datastores.grant.steps(self.ds, name, user)
        else:
            yield from Scripts.grant.steps(self.scripts, name, user)

    @verb
    def revoke(self, name: str, typ: str = "pyqscript", user: str | None = None) -> Steps[None]:
        """Take a grant back, as OML4Py's `oml.revoke`."""
        if _is_datastore(typ):
            yield from Datastores.revoke.steps(self.ds, name, user)
        else:
            yield from Scripts.revoke.steps(self.scripts, name, user)

    @verb
    def log_in(self) -> Steps[str]:
        """Get a token from username and password, and give it."""
        yield from self._session.log_in()
        assert self._session.token is not None, "a login gives one"
        return self._session.token

    @verb
    def token(self) -> Steps[str]:
        """Give a token that is good for some time: the one there is, or a new one."""
        yield from self._session.freshen()
        assert self._session.token is not None, "it is there now"
        return self._session.token

    @verb
    def log_out(self) -> Steps[None]:
        """Revoke the token, and every other one of the same login."""
        yield from self._session.log_out()

    def _finish(self, run: Run) -> Steps[Any]:
        """Wait for the value. Where somebody looks on, a fan-out is a job, to show how it goes."""
        wanted = run.options.want_a_job
        if wanted or (self._display.on and run.verb in _FAN_OUT):
            try:
                job = yield from submitted(run, self._driver, self._session, self._display)
            except errors.JobsUnavailable:
                if wanted:
                    raise  # else it shows no bar
            else:
                result = yield from Job.result.steps(job)
                yield from Job.delete.steps(job)
                return result
        answer = yield from self._session.send(run.request(as_job=False))
        return answer_of(run, answer.json())


class Client(_Client[Blocking]):
    """A fanfold server, for a program that waits for its answers.

    What is not given is taken from FANFOLD_URL, FANFOLD_TOKEN, FANFOLD_USERNAME and
    FANFOLD_PASSWORD, and then from the profile that `fanfold login` has written. May be used from
    several threads. Use it in a `with`, or close it.

    Args:
        url: of the server.
        username, password: of an account; or
        token: that the server has given.
        profile: the name of the profile; by default FANFOLD_PROFILE, else "default".
        progress: show bars, and run what fans out as jobs, so that they can; by default in
            terminals and notebooks.
        verify: whether a server's TLS is checked, or a file of certificates to check it by.

    Raises:
        NotLoggedIn: no server is known.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        progress: bool | None = None,
        verify: bool | str = True,
    ) -> None:
        session = session_for(url, username, password, token, profile)
        super().__init__(
            Blocking(session.url, verify=verify), session, Display(progress), Options()
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._driver.close()


class AsyncClient(_Client[Awaiting]):
    """A fanfold server, for a program with an event loop; the arguments are those of `Client`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        progress: bool | None = None,
        verify: bool | str = True,
    ) -> None:
        session = session_for(url, username, password, token, profile)
        display = Display(progress)
        driver = Awaiting(session.url, verify=verify, asks=display.on)
        super().__init__(driver, session, display, Options())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.close()


def submitted(run: Run, driver: D, session: Session, display: Display) -> Steps[Job[D]]:
    """Send a run as a job; give its handle."""
    answer = yield from session.send(run.request(as_job=True))
    job = answer.headers.get("location", "").rsplit("/", 1)[-1]
    return Job(driver, session, display, job, run.options)


def session_for(
    url: str | None,
    username: str | None,
    password: str | None,
    token: str | None,
    profile: str | None,
) -> Session:
    """Find out which server is meant and who asks: see `Client`."""
    variables = os.environ
    file = profiles.profile_file()
    name = profile or profiles.chosen_profile()
    kept = profiles.read_profile(name, file)
    url = (url or variables.get("FANFOLD_URL") or (kept.url if kept else "")).rstrip("/")
    if not url:
        raise NotLoggedIn(
            'No server is known: give its address, set FANFOLD_URL, or run "fanfold login URL".'
        )
    if urlsplit(url).scheme not in {"http", "https"}:
        raise NotLoggedIn(f'"{url}" is no address of a server: it begins with http:// or https://.')
    if token is None and username is None:
        token = variables.get("FANFOLD_TOKEN")
        username = variables.get("FANFOLD_USERNAME")
        password = password or variables.get("FANFOLD_PASSWORD")
    if token is None and username is None and kept is not None and kept.url == url:
        return _kept_session(kept, name, file)
    return Session(url, Login(username=username, password=password, token=token))


def _kept_session(kept: profiles.Profile, name: str, file: Path) -> Session:
    def renewed(token: str, expires: float) -> None:
        fresh = profiles.Profile(kept.url, kept.username, token, expires)
        profiles.write_profile(name, fresh, file)

    return Session(kept.url, Login(token=kept.token, expires=kept.expires), renewed=renewed)


def _is_datastore(typ: str) -> bool:
    if typ not in {"pyqscript", "datastore"}:
        raise ValueError(f'typ is "{typ}"; it can be "pyqscript" or "datastore".')
    return typ == "datastore"
