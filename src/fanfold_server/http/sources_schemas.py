"""The shapes of bodies about registered databases."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from fanfold_server.http.answers import AnswerBody
from fanfold_server.http.schemas import iso_ms
from fanfold_server.model.data_source import DataSource, SourceKind
from fanfold_server.service.data_sources import MAX_CONNECTIONS, Registration


class SourceIn(BaseModel):
    """A database, as an administrator registers it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=to_camel,
        json_schema_extra={
            "example": {
                "kind": "postgresql",
                "url": "postgresql://reader@db.example.org/sales",
                "passwordFrom": "env:FANFOLD_SECRET_SALES",
            }
        },
    )

    kind: Annotated[SourceKind, Field(description="By which driver it is read.")]
    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            description="Where it is and as whom, without a password.",
        ),
    ]
    password: Annotated[
        SecretStr | None, Field(description="Stored encrypted; no answer ever holds it.")
    ] = None
    password_from: Annotated[
        str | None,
        Field(
            description='"env:FANFOLD_SECRET_…", a variable of the server\'s, or "file:…", a file '
            "of its directory of secrets; read each time it is needed, and not stored."
        ),
    ] = None
    max_connections: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_CONNECTIONS,
            strict=True,
            description="Of each server to the database, at once.",
        ),
    ] = 4

    def registration(self, name: str) -> Registration:
        """Give it the name that the path has."""
        return Registration(
            name=name,
            kind=self.kind,
            url=self.url,
            password=None if self.password is None else self.password.get_secret_value(),
            password_from=self.password_from,
            max_connections=self.max_connections,
        )


class SourceOut(AnswerBody):
    """A registered database. Where it is and whence its password comes, administrators see."""

    name: Annotated[str, Field(description="In upper case; matched without regard to case.")]
    kind: SourceKind
    is_default: Annotated[
        bool, Field(description="Whether your runs that name no database read it.")
    ]
    url: str | None
    password: Annotated[
        str | None, Field(description='"stored", "env:…", "file:…", or null; never a password.')
    ]
    max_connections: int
    created: Annotated[
        str, Field(description="When it was registered: UTC, ISO 8601 with milliseconds.")
    ]

    @classmethod
    def of(cls, source: DataSource, *, is_admin: bool, default: str | None) -> Self:
        """Describe a database."""
        return cls(
            name=source.name,
            kind=source.kind,
            is_default=source.name == default,
            url=source.url if is_admin else None,
            password=source.password if is_admin else None,
            max_connections=source.max_connections,
            created=iso_ms(source.created),
        )


class SourceList(AnswerBody):
    """Databases by name."""

    sources: list[SourceOut]


class SourceTested(AnswerBody):
    """The database let this server in."""

    name: str
    reachable: bool
