"""The shapes of bodies: our own API's and the compatible wire's names, mapped in one place.

Bodies that come in are strict: a member that does not exist or has another type is refused by
name. The same models write the answers, so the OpenAPI document cannot differ from them.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from fanfold_server.http.network_schemas import ScriptNetworkOut
from fanfold_server.model.actor import GLOBAL_OWNER
from fanfold_server.model.script import Script

_EXAMPLE_SOURCE = "def mean_of(index):\n    return index / 2\n"
_MS = 1000


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


# ------------------------------------------------------------------------------------- what comes


class NewScript(_Request):
    """A function to store."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"source": _EXAMPLE_SOURCE, "description": "half of the index"}
        }
    )

    source: Annotated[
        str, Field(description="Python text that defines the function; it is never run here.")
    ]
    description: Annotated[
        str | None, Field(description="What listings say about it.", max_length=4000)
    ] = None
    is_global: Annotated[
        bool,
        Field(
            alias="global",
            description="Store it for everyone, under the owner PYQSYS, instead of for yourself.",
        ),
    ] = False
    overwrite: Annotated[
        bool, Field(description="Store a new version where a script of this name exists.")
    ] = False


class RollBack(_Request):
    """Which version is to be the current one."""

    model_config = ConfigDict(json_schema_extra={"example": {"version": 1}})

    version: Annotated[int, Field(ge=1, description="A version that `…/versions` lists.")]
    is_global: Annotated[bool, Field(alias="global", description="Of the global script.")] = False


# -------------------------------------------------------------------------------------- what goes


class ScriptVersion(_Answer):
    """One version of a script, without its text."""

    name: str
    owner: Annotated[
        str, Field(description="An account in upper case; PYQSYS for a global script.")
    ]
    version: Annotated[int, Field(description="1, 2, … in the order of publishing.")]
    digest: Annotated[str, Field(description="SHA-256 of the source, in hexadecimal.")]
    entry: Annotated[str, Field(description="The function that a run calls.")]
    description: str | None
    created: Annotated[str, Field(description="UTC, ISO 8601 with milliseconds.")]
    is_global: Annotated[bool, Field(alias="global")]
    network: Annotated[
        ScriptNetworkOut | None,
        Field(description="What is decided of its network, in all versions; null: nothing."),
    ] = None

    @classmethod
    def of(cls, script: Script) -> Self:
        """Describe a script."""
        return cls(**_described(script))


class ScriptText(ScriptVersion):
    """One version of a script."""

    source: str

    @classmethod
    def of(cls, script: Script) -> Self:
        """Describe a script, with its text."""
        return cls(**_described(script), source=script.source)


class GrantedScript(ScriptVersion):
    """A script with the account it is granted to."""

    grantee: Annotated[str, Field(description="An account; PUBLIC stands for everyone.")]


class ScriptList(_Answer):
    """Scripts; with `grantee` in the listing `grant`."""

    scripts: list[GrantedScript] | list[ScriptVersion]


class VersionList(_Answer):
    """The versions of one script, the newest first."""

    versions: list[ScriptVersion]


# -------------------------------------------------------------------------- the compatible surface


class OmlScript(_Answer):
    """A script as the compatible listings have it."""

    owner: str
    date: Annotated[str, Field(description="When this version was stored: UTC, milliseconds, Z.")]
    name: str
    description: str | None
    script: Annotated[str, Field(description="The source text.")]

    @classmethod
    def of(cls, script: Script) -> Self:
        """Describe a script under the compatible names."""
        return cls(
            owner=script.owner,
            date=iso_ms(script.created),
            name=script.name,
            description=script.description,
            script=script.source,
        )


class OmlGrantedScript(OmlScript):
    """A script with the account it is granted to."""

    grantee: Annotated[str, Field(description="An account; PUBLIC stands for everyone.")]


class OmlScriptList(_Answer):
    """The scripts that one may use."""

    result: list[OmlScript]


class OmlGrantList(_Answer):
    """Scripts; with `grantee` in the listing `grant`."""

    result: list[OmlGrantedScript] | list[OmlScript]


class OmlEnvironment(_Answer):
    """An environment to name in `envName`."""

    size: Annotated[str, Field(description="For people, such as `1.7 GiB`.")]
    name: str
    description: str | None
    number_of_installed_packages: int
    tags: dict[str, str]


class OmlEnvironments(_Answer):
    """The environments that one may run in."""

    envs: list[OmlEnvironment]


class OmlEnvironmentList(_Answer):
    """The environments that one may run in."""

    result: OmlEnvironments


class Link(_Answer):
    """A link; a child's `href` holds the names of path members in braces."""

    href: str
    rel: Annotated[str, Field(description="`self` or `child`.")]


class ApiVersion(_Answer):
    """One version of the compatible API."""

    version: str
    is_latest: Annotated[bool, Field(alias="isLatest")]
    lifecycle: Annotated[str, Field(description="`ACTIVE`, or `DEPRECATED@` and a date.")]
    links: list[Link]


class ApiVersions(_Answer):
    """All versions of the compatible API."""

    items: list[ApiVersion]
    links: list[Link]


class TokenOut(_Answer):
    """A fresh token."""

    access_token: Annotated[str, Field(alias="accessToken")]
    expires_in: Annotated[int, Field(alias="expiresIn", description="Seconds.")]
    token_type: Annotated[str, Field(alias="tokenType")]


class Done(_Answer):
    """What was done, in words."""

    result: str


class ErrorOut(BaseModel):
    """Every error on every path; more members may stand beside these two."""

    model_config = ConfigDict(extra="allow")

    error_message: Annotated[str, Field(alias="errorMessage")]
    error_code: Annotated[
        int, Field(alias="errorCode", description="Stable; docs/reference lists all of them.")
    ]


def iso_ms(moment: datetime) -> str:
    """Write an aware UTC time as the compatible wire does: `2020-08-27T15:53:56.000Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // _MS:03d}Z"


def _described(script: Script) -> dict[str, Any]:
    return {
        "name": script.name,
        "owner": script.owner,
        "version": script.version,
        "digest": script.digest,
        "entry": script.entry,
        "description": script.description,
        "created": iso_ms(script.created),
        "is_global": script.owner == GLOBAL_OWNER,
        "network": None if script.network is None else ScriptNetworkOut.of(script.network),
    }
