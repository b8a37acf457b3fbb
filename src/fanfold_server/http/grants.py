"""Grants as they are written: who else may use a script, a table, a database or a datastore.

The routes `…/{name}/grants` and `…/{name}/grants/{grantee}` of all of these speak these words.
"""

from collections.abc import Iterable
from typing import Annotated, Self

from fastapi import Path
from pydantic import Field

from fanfold_server.http.answers import AnswerBody
from fanfold_server.model.actor import EVERYONE, account_name

Grantee = Annotated[str, Path(description="An account's name, or `*` (or PUBLIC) for everyone.")]


class GrantOut(AnswerBody):
    """A right of another account's."""

    grantee: Annotated[str, Field(description="An account; PUBLIC stands for everyone.")]


class GrantList(AnswerBody):
    """Who else may use it."""

    grants: list[GrantOut]

    @classmethod
    def of(cls, grantees: Iterable[str | None]) -> Self:
        """Describe the rights of these; None stands for everyone."""
        return cls(grants=[GrantOut(grantee=grantee or EVERYONE) for grantee in grantees])


def grantee_of(written: str) -> str | None:
    """Read the grantee of a path; None stands for everyone."""
    return None if written == "*" or account_name(written) == EVERYONE else written
