"""Scripts and tables on the server, as parts of a client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fanfold import errors, functions, uploads
from fanfold.faults import NotSendable
from fanfold.messages import Request, Steps, json_body, path, query
from fanfold.records import Script, Table, read
from fanfold.values import value_of
from fanfold.verbs import D, Part, verb

SCRIPTS = "/api/v1/scripts"
EVERYONE = "*"


class Scripts(Part[D]):
    """Stored functions: one's own, those for everyone, those that were granted."""

    @verb
    def publish(
        self,
        func: Callable[..., Any] | str,
        name: str | None = None,
        *,
        description: str | None = None,
        is_global: bool = False,
        overwrite: bool = True,
    ) -> Steps[Script]:
        """Store a function, or a source text; the same text again makes no new version.

        Args:
            func: a function, taken by its source, or a source text.
            name: by default the function's own.
            description: by default the first line of its docstring, if it is a function.

        Raises:
            NotPortable: the function cannot stand alone; it names what is lacking.
            ScriptExists: there is one of this name, and `overwrite` is off.
        """
        return (
            yield from self._stored(
                func,
                name,
                description=description,
                is_global=is_global,
                overwrite=overwrite,
            )
        )

    @verb
    def create(
        self,
        name: str,
        func: Callable[..., Any] | str,
        is_global: bool = False,
        overwrite: bool = False,
        description: str | None = None,
    ) -> Steps[Script]:
        """Store a function, as OML4Py's `oml.script.create`."""
        return (
            yield from self._stored(
                func,
                name,
                description=description,
                is_global=is_global,
                overwrite=overwrite,
            )
        )

    @verb
    def list(self, kind: str = "user") -> Steps[Sequence[Script]]:
        """List scripts without their text: user, all, global, grant or granted."""
        found = yield from self._get(path(SCRIPTS), query(type=kind))
        return [read(Script, entry) for entry in found["scripts"]]

    @verb
    def dir(
        self,
        name: str | Sequence[str] | None = None,
        regex_match: bool = False,
        sctype: str = "user",
    ) -> Steps[Any]:
        """List scripts with their text, as OML4Py's `oml.script.dir`: a DataFrame, or records."""
        found = yield from self._get(f"/oml/api/py-scripts/v2/scripts/{sctype}", {})
        names = [name] if isinstance(name, str) else name
        columns = ["name", "script", "description", "date"]
        columns = ["owner", *columns] if sctype in {"all", "granted", "global"} else columns
        columns = ["grantee", *columns] if sctype == "grant" else columns
        rows = [
            {column: entry.get(column) for column in columns}
            for entry in found["result"]
            if _matches(entry["name"], names, regex_match=regex_match)
        ]
        return value_of(rows, frames=True)

    @verb
    def load(
        self, name: str, owner: str | None = None, version: int | None = None
    ) -> Steps[Script]:
        """Read a script with its text."""
        found = yield from self._get(path(SCRIPTS, name), query(owner=owner, version=version))
        return read(Script, found)

    @verb
    def versions(self, name: str, owner: str | None = None) -> Steps[Sequence[Script]]:
        """List the versions of a script, the newest first."""
        found = yield from self._get(path(SCRIPTS, name, "versions"), query(owner=owner))
        return [read(Script, entry) for entry in found["versions"]]

    @verb
    def roll_back(self, name: str, version: int, is_global: bool = False) -> Steps[Script]:
        """Make an older version the current one."""
        body, headers = json_body({"version": version, "global": is_global})
        where = path(SCRIPTS, name, "rollback")
        request = Request("POST", where, body=body, headers=headers, may_repeat=True)
        return read(Script, (yield from self._session.send(request)).json())

    @verb
    def drop(self, name: str, is_global: bool = False, silent: bool = False) -> Steps[None]:
        """Delete a script with its versions and grants; `silent`: also if there is none."""
        asked = {"global": "true"} if is_global else {}
        try:
            yield from self._session.send(Request("DELETE", path(SCRIPTS, name), query=asked))
        except errors.UnknownScript:
            if not silent:
                raise

    @verb
    def network(
        self, name: str, owner: str | None = None, environment: str = "default"
    ) -> Steps[dict[str, Any]]:
        """Say what a script may reach of the network in an environment, and who decided that."""
        asked = query(owner=owner, envName=environment)
        found: dict[str, Any] = yield from self._get(path(SCRIPTS, name, "network"), asked)
        return found

    @verb
    def limit_network(
        self, name: str, policy: str, hosts: Sequence[str] = (), is_global: bool = False
    ) -> Steps[dict[str, Any]]:
        """Keep a script of yours to less of the network than it might reach.

        Args:
            policy: "none"; "allow-list", which `hosts` makes; "full", which takes a limit away.
            hosts: such as api.example.org, api.example.org:8443 or *.example.org.
        """
        body, headers = json_body({"policy": policy, "hosts": [*hosts]})
        request = Request(
            "PUT",
            path(SCRIPTS, name, "network"),
            query={"global": "true"} if is_global else {},
            body=body,
            headers=headers,
            may_repeat=True,
        )
        said: dict[str, Any] = (yield from self._session.send(request)).json()
        return said

    @verb
    def grant_network(
        self, name: str, owner: str, policy: str, hosts: Sequence[str] = ()
    ) -> Steps[None]:
        """Let a script reach more of the network than its environment may; for administrators.

        Args:
            policy, hosts: as for `limit_network`; "none" takes the grant back.
        """
        where = path("/api/v1/network-grants", owner, name)
        if policy == "none":
            yield from self._session.send(Request("DELETE", where))
            return
        body, headers = json_body({"policy": policy, "hosts": [*hosts]})
        request = Request("PUT", where, body=body, headers=headers, may_repeat=True)
        yield from self._session.send(request)

    @verb
    def grant(self, name: str, user: str | None = None) -> Steps[None]:
        """Let an account, or everyone, run and read a script of yours."""
        where = path(SCRIPTS, name, "grants", user or EVERYONE)
        yield from self._session.send(Request("PUT", where, may_repeat=True))

    @verb
    def revoke(self, name: str, user: str | None = None) -> Steps[None]:
        """Take a grant back."""
        where = path(SCRIPTS, name, "grants", user or EVERYONE)
        yield from self._session.send(Request("DELETE", where))

    @verb
    def grants(self, name: str) -> Steps[Sequence[str]]:
        """List the accounts that your script is granted to; PUBLIC stands for everyone."""
        found = yield from self._get(path(SCRIPTS, name, "grants"), {})
        return [entry["grantee"] for entry in found["grants"]]

    @verb
    def openapi(self, name: str, owner: str | None = None) -> Steps[Mapping[str, Any]]:
        """Give the OpenAPI 3.1 document of a script: its parameters, defaults and types."""
        found: Mapping[str, Any]
        where = path(SCRIPTS, name, "openapi.json")
        found = yield from self._get(where, query(owner=owner))
        return found

    def _stored(
        self,
        func: Callable[..., Any] | str,
        name: str | None,
        *,
        description: str | None,
        is_global: bool,
        overwrite: bool,
    ) -> Steps[Script]:
        source = functions.source_of(func)
        if description is None and not isinstance(func, str) and func.__doc__:
            description = func.__doc__.strip().splitlines()[0]
        members = {
            "source": source.text,
            "description": description,
            "global": is_global,
            "overwrite": overwrite,
        }
        body, headers = json_body(members)
        request = Request(
            "PUT",
            path(SCRIPTS, name or source.name),
            body=body,
            headers=headers,
            may_repeat=overwrite,
        )
        answer = yield from self._session.send(request)
        return read(Script, answer.json())

    def _get(self, where: str, asked: Mapping[str, str]) -> Steps[Any]:
        request = Request("GET", where, query=asked, may_repeat=True)
        return (yield from self._session.send(request)).json()


class Tables(Part[D]):
    """Tables that queries may name."""

    @verb
    def load(
        self,
        data: Any,
        name: str | None = None,
        *,
        form: str | None = None,
        charset: str | None = None,
        is_global: bool = False,
    ) -> Steps[Table]:
        """Load a table, in place of one of that name.

        Args:
            data: a file's path (CSV, Parquet, JSON lines, Arrow) or a DataFrame.
            name: by default the file's.
            form: csv, parquet, ndjson or arrow, where the file's ending does not say it.
            charset: of a file of text, such as "windows-1252"; by default UTF-8, or what its byte
                order mark says.
        """
        if name is None:
            if not isinstance(data, (str, Path)):
                raise NotSendable("A DataFrame has no name of its own: give one to its table.")
            name = Path(data).stem
        size = Path(data).stat().st_size if isinstance(data, (str, Path)) else None
        with self._display.bar(f"sending {name}", size) as bar:
            request = uploads.request_for(
                name, data, form=form, charset=charset, is_global=is_global, tell=bar.advance
            )
            answer = yield from self._session.send(request)
        return read(Table, answer.json())

    @verb
    def list(self) -> Steps[Sequence[Table]]:
        """List the tables that you may read."""
        request = Request("GET", uploads.TABLES, may_repeat=True)
        found = (yield from self._session.send(request)).json()
        return [read(Table, entry) for entry in found["tables"]]

    @verb
    def describe(self, name: str, owner: str | None = None) -> Steps[Table]:
        """Describe a table."""
        where = path(uploads.TABLES, name)
        request = Request("GET", where, query=query(owner=owner), may_repeat=True)
        return read(Table, (yield from self._session.send(request)).json())

    @verb
    def preview(
        self, name: str, owner: str | None = None, rows: int = 10, frames: bool = True
    ) -> Steps[Any]:
        """Give the first rows: a DataFrame, or records."""
        where = path(uploads.TABLES, name, "preview")
        request = Request("GET", where, query=query(owner=owner, rows=rows), may_repeat=True)
        return value_of((yield from self._session.send(request)).json(), frames=frames)

    @verb
    def drop(self, name: str, is_global: bool = False) -> Steps[None]:
        """Delete a table with its grants."""
        asked = {"global": "true"} if is_global else {}
        yield from self._session.send(Request("DELETE", path(uploads.TABLES, name), query=asked))

    @verb
    def grant(self, name: str, user: str | None = None) -> Steps[None]:
        """Let an account, or everyone, read a table of yours."""
        where = path(uploads.TABLES, name, "grants", user or EVERYONE)
        yield from self._session.send(Request("PUT", where, may_repeat=True))

    @verb
    def revoke(self, name: str, user: str | None = None) -> Steps[None]:
        """Take a grant back."""
        where = path(uploads.TABLES, name, "grants", user or EVERYONE)
        yield from self._session.send(Request("DELETE", where))


def _matches(name: str, wanted: Sequence[str] | None, *, regex_match: bool) -> bool:
    if wanted is None:
        return True
    if regex_match:
        return any(re.search(pattern, name) for pattern in wanted)
    return name in wanted
