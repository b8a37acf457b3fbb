"""The shapes of bodies about environments that are built here."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fanfold_server.http.answers import AnswerBody
from fanfold_server.http.network_schemas import NetworkOut
from fanfold_server.http.schemas import iso_ms
from fanfold_server.model.environment import Build, BuildState, Made, Maker
from fanfold_server.model.network import Network


class EnvironmentIn(BaseModel):
    """An order: either `spec` with `format`, or `packages`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, populate_by_name=True, alias_generator=to_camel
    )

    name: Annotated[str, Field(description="At most 64 letters, digits, `.`, `_` and `-`.")]
    spec: Annotated[
        str | None,
        Field(description="The text of an environment.yml, requirements.txt or pyproject.toml."),
    ] = None
    format: Annotated[
        str | None, Field(description="Which of the three `spec` is; by its file's name.")
    ] = None
    packages: Annotated[
        list[str] | None,
        Field(description="Packages with versions; `python=3.11` among them says which Python."),
    ] = None
    channels: Annotated[
        list[str] | None, Field(description="Then `packages` are conda's, from these channels.")
    ] = None
    maker: Annotated[str | None, Field(description="uv, rattler, conda, mamba or micromamba.")] = (
        None
    )
    description: Annotated[str | None, Field(description="What it is for, in a line.")] = None
    tags: dict[str, str] | None = None
    overwrite: Annotated[bool, Field(description="Make another version of one that is there.")] = (
        False
    )


class RollbackIn(BaseModel):
    """Which version what begins from now on runs in."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[int, Field(ge=1)]


class BuildOut(AnswerBody):
    """The making of a version, as it stands."""

    id: str
    name: str
    owner: str
    state: BuildState
    step: Annotated[
        str, Field(description="wait, solve, install, compile, activate, probe or ready.")
    ]
    progress: Annotated[float, Field(description="How much is done: 0 to 1.")]
    created: str
    finished: str | None
    version: Annotated[int | None, Field(description="That it has made, or has found.")]
    error: str | None

    @classmethod
    def of(cls, build: Build) -> Self:
        """Describe a build."""
        return cls(
            id=build.id,
            name=build.name,
            owner=build.owner,
            state=build.state,
            step=build.step,
            progress=build.progress,
            created=iso_ms(build.created),
            finished=iso_ms(build.finished) if build.finished else None,
            version=build.version,
            error=build.error,
        )


class BuildList(AnswerBody):
    """Builds, newest first."""

    builds: list[BuildOut]


class WarmOut(AnswerBody):
    """Interpreters of an environment that have started."""

    owner: str
    workers: Annotated[int, Field(description="Processes that wait for work, or work.")]
    busy: int
    preloaded: bool


class EnvironmentOut(AnswerBody):
    """An environment that was built here."""

    name: str
    version: Annotated[int, Field(description="The one that runs take place in.")]
    versions: Annotated[list[int], Field(description="All of them, newest first.")]
    owner: str
    description: str
    tags: dict[str, str]
    kind: Annotated[str, Field(description="venv or conda.")]
    maker: Maker
    python: str
    package_count: int
    size_bytes: int
    created: str
    last_used: Annotated[str | None, Field(description="When something last ran in this version.")]
    jobs: Annotated[
        dict[str, int], Field(description="Jobs that have not ended and want it, by owner.")
    ]
    warm: Annotated[list[WarmOut], Field(description="On this server, now.")]
    network: Annotated[
        NetworkOut, Field(description="What functions reach there, unless their script has more.")
    ]

    @classmethod
    def of(
        cls,
        made: Made,
        versions: list[int],
        *,
        last_used: str | None,
        jobs: Mapping[str, int],
        warm: list[WarmOut],
        network: Network,
    ) -> Self:
        """Describe an environment by its current version."""
        return cls(
            name=made.name,
            version=made.version,
            versions=versions,
            owner=made.owner,
            description=made.description,
            tags=dict(made.tags),
            kind=made.recipe.kind,
            maker=made.recipe.maker,
            python=made.python,
            package_count=len(made.packages),
            size_bytes=made.size_bytes,
            created=iso_ms(made.created),
            last_used=last_used,
            jobs=dict(jobs),
            warm=warm,
            network=NetworkOut.of(network),
        )


class EnvironmentDetail(EnvironmentOut):
    """An environment with what is in it."""

    packages: Annotated[dict[str, str], Field(description="Name and version.")]
    variables: Annotated[dict[str, str], Field(description="Set in every process that runs there.")]


class EnvironmentList(AnswerBody):
    """Environments that were built here, by name."""

    environments: list[EnvironmentOut]
