"""The shapes of bodies about datastores."""

from typing import Annotated, Self

from pydantic import Field

from fanfold_server.http.answers import AnswerBody
from fanfold_server.http.schemas import iso_ms
from fanfold_server.model.datastore import Datastore, StoredObject


class ObjectOut(AnswerBody):
    """An object of a datastore, as the function described it that saved it."""

    name: str
    class_name: str
    size_bytes: int
    length: Annotated[int, Field(description="Of a list, a dict or a DataFrame; else 1.")]
    row_count: Annotated[int, Field(description="Of a DataFrame; else 1.")]
    col_count: Annotated[int, Field(description="Of a DataFrame, a list or a dict; else 1.")]

    @classmethod
    def of(cls, each: StoredObject) -> Self:
        """Describe an object."""
        return cls(
            name=each.name,
            class_name=each.kind,
            size_bytes=each.size_bytes,
            length=each.length,
            row_count=each.rows,
            col_count=each.columns,
        )


class DatastoreOut(AnswerBody):
    """A datastore."""

    name: str
    owner: Annotated[str, Field(description="An account in upper case.")]
    description: str
    object_count: int
    size_bytes: Annotated[int, Field(description="What its objects take.")]
    grantable: Annotated[bool, Field(description="Whether others may be let load it.")]
    created: Annotated[
        str, Field(description="When it was made or overwritten: UTC, ISO 8601 with milliseconds.")
    ]
    grantee: Annotated[
        str | None, Field(description="With `type=grant`: to whom; PUBLIC stands for everyone.")
    ] = None

    @classmethod
    def of(cls, each: Datastore, grantee: str | None = None) -> Self:
        """Describe a datastore."""
        return cls(
            name=each.name,
            owner=each.owner,
            description=each.description,
            object_count=len(each.objects),
            size_bytes=each.size_bytes,
            grantable=each.grantable,
            created=iso_ms(each.created),
            grantee=grantee,
        )


class DatastoreList(AnswerBody):
    """Datastores by owner and name."""

    datastores: list[DatastoreOut]


class DatastoreDetail(DatastoreOut):
    """A datastore and its objects."""

    objects: list[ObjectOut]

    @classmethod
    def of(cls, each: Datastore, grantee: str | None = None) -> Self:
        """Describe a datastore."""
        about = DatastoreOut.of(each, grantee)
        return cls(**about.model_dump(), objects=[ObjectOut.of(one) for one in each.objects])
