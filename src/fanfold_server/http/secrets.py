"""Our own API of secrets: stored, granted to scripts, and never told again."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.surface import Caller, CallerRoute, SecretsOf
from fanfold_server.model.errors import InvalidField
from fanfold_server.service.secrets import MAX_BYTES, MIN_LENGTH

router = APIRouter(prefix="/api/v1/secrets", tags=["secrets"], route_class=CallerRoute)

Name = Annotated[str, Path(description="What you call the secret; functions ask by this name.")]
Script = Annotated[str, Path(description="One of your scripts.")]


class NewSecret(BaseModel):
    """The value of a secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    # Of any type here: an error of the framework's would show what came.
    value: Annotated[
        object,
        WithJsonSchema(
            {
                "type": "string",
                "format": "password",
                "description": f"At least {MIN_LENGTH} characters.",
                "minLength": MIN_LENGTH,
                "maxLength": MAX_BYTES,
            }
        ),
    ]


class SecretOut(BaseModel):
    """A secret, without its value."""

    name: str
    changed: datetime
    scripts: Annotated[list[str], Field(description="Your scripts that may have it.")]


class SecretList(BaseModel):
    """All secrets of an account."""

    secrets: list[SecretOut]


@router.get("", response_model=SecretList)
async def list_secrets(secrets: SecretsOf, caller: Caller) -> Json:
    """List your secrets, with the scripts that may have them; nobody is told their values."""
    listing = await secrets.listing(caller)
    return Json(
        SecretList(
            secrets=[
                SecretOut(name=one.name, changed=one.changed, scripts=list(one.scripts))
                for one in listing
            ]
        )
    )


@router.put(
    "/{name}",
    status_code=201,
    response_class=Nothing,
    responses={204: {"description": "The secret has a new value; its grants stay."}},
    response_description="The secret is stored; its name is new.",
)
async def store_secret(secrets: SecretsOf, caller: Caller, name: Name, body: NewSecret) -> Nothing:
    """Store a secret, sealed. A function of a script that it is granted to asks for it by name.

    In the function: `import oml; oml.secret("NAME")`.
    """
    if not isinstance(body.value, str):
        raise InvalidField('The member "value" has to be a text.', field="value")
    answer = Nothing()
    if await secrets.put(caller, name, body.value):
        answer.status_code = 201
        answer.headers["content-length"] = "0"
    return answer


@router.delete("/{name}", status_code=204, response_class=Nothing)
async def delete_secret(secrets: SecretsOf, caller: Caller, name: Name) -> Nothing:
    """Delete a secret with its grants."""
    await secrets.drop(caller, name)
    return Nothing()


@router.put("/{name}/grants/{script}", status_code=204, response_class=Nothing)
async def grant_secret(secrets: SecretsOf, caller: Caller, name: Name, script: Script) -> Nothing:
    """Let a script of yours have a secret, whoever runs it."""
    await secrets.grant(caller, name, script)
    return Nothing()


@router.delete("/{name}/grants/{script}", status_code=204, response_class=Nothing)
async def revoke_secret(secrets: SecretsOf, caller: Caller, name: Name, script: Script) -> Nothing:
    """Take a grant back."""
    await secrets.revoke(caller, name, script)
    return Nothing()
