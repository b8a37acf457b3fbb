"""Our own API of tables: what is loaded here can be named in the member "input" of a run."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.grants import Grantee, GrantList, grantee_of
from fanfold_server.http.receiving import receive_file
from fanfold_server.http.surface import Caller, CallerRoute, TablesOf
from fanfold_server.http.tables_schemas import TableList, TableOut
from fanfold_server.model.errors import InvalidField
from fanfold_server.model.rows import CHARSETS, TEXT_FORMATS, DataFormat, charset_of
from fanfold_server.service.tables import MAX_PREVIEW_ROWS

router = APIRouter(prefix="/api/v1/tables", tags=["tables"], route_class=CallerRoute)

MEDIA_TYPES: Final[Mapping[str, DataFormat]] = {
    "text/csv": DataFormat.CSV,
    "application/csv": DataFormat.CSV,
    "application/vnd.apache.parquet": DataFormat.PARQUET,
    "application/x-ndjson": DataFormat.NDJSON,
    "application/jsonl": DataFormat.NDJSON,
    "application/vnd.apache.arrow.stream": DataFormat.ARROW,
    "application/vnd.apache.arrow.file": DataFormat.ARROW,
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The rows: CSV with a header line, Parquet, JSON lines or Arrow.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in MEDIA_TYPES
        },
    }
}

Name = Annotated[str, Path(description="The table's name; its case does not matter.")]
Owner = Annotated[
    str | None,
    Query(description="Whose table; without it your own, else the one of that name for everyone."),
]
Global = Annotated[
    bool, Query(alias="global", description="The table for everyone; for administrators.")
]


@router.get("", response_model=TableList)
async def list_tables(tables: TablesOf, caller: Caller) -> Json:
    """List the tables that you may read: your own, those for everyone, those granted to you."""
    listing = await tables.listing(caller)
    return Json(TableList(tables=[TableOut.of(table) for table in listing]))


@router.put(
    "/{name}",
    response_model=TableOut,
    status_code=201,
    responses={200: {"description": "The table is replaced.", "model": TableOut}},
    response_description="The table is loaded; its name is new.",
    openapi_extra=_BODY,
)
async def load_table(
    request: Request,
    tables: TablesOf,
    caller: Caller,
    name: Name,
    *,
    form: Annotated[
        DataFormat | None,
        Query(alias="format", description="Of the body, where its Content-Type does not say it."),
    ] = None,
    is_global: Global = False,
) -> Json:
    """Load a table from the request's body, in place of one of that name.

    The table is replaced whole or not at all; queries that read the old one go on doing so. Text is
    UTF-8, or what a byte order mark or the `charset` of the Content-Type says. CSV has a header
    line; types of columns are guessed from all that is sent, and nothing is null but what is empty.
    Whole numbers keep all digits, or are refused: in a column with floats, of which none is equal
    to them, and in JSON beyond 128 bits.
    """
    tables.check(caller, name, is_global=is_global)
    form = form or _form(request)
    charset = _charset(request) if form in TEXT_FORMATS else None
    path = tables.incoming()
    try:
        await receive_file(request, path)
        table, is_new = await tables.load(
            caller, name, path, form, charset=charset, is_global=is_global
        )
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return Json(TableOut.of(table), status_code=201 if is_new else 200)


@router.get("/{name}", response_model=TableOut)
async def describe_table(tables: TablesOf, caller: Caller, name: Name, owner: Owner = None) -> Json:
    """Describe a table that you may read."""
    return Json(TableOut.of(await tables.find(caller, name, owner)))


@router.get("/{name}/preview")
async def preview_table(
    tables: TablesOf,
    caller: Caller,
    name: Name,
    owner: Owner = None,
    rows: Annotated[int, Query(ge=0, le=MAX_PREVIEW_ROWS)] = 10,
) -> Json:
    """Give the first rows of a table, a list of objects."""
    return Json(await tables.preview(caller, name, owner, rows=rows))


@router.delete("/{name}", status_code=204, response_class=Nothing)
async def drop_table(
    tables: TablesOf, caller: Caller, name: Name, is_global: Global = False
) -> Nothing:
    """Delete a table with its grants."""
    await tables.drop(caller, name, is_global=is_global)
    return Nothing()


@router.get("/{name}/grants", response_model=GrantList)
async def list_table_grants(tables: TablesOf, caller: Caller, name: Name) -> Json:
    """List who else may read your table."""
    grants = await tables.grants(caller, name)
    return Json(GrantList.of(grant.grantee for grant in grants))


@router.put("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def grant_table(tables: TablesOf, caller: Caller, name: Name, grantee: Grantee) -> Nothing:
    """Let another account, or everyone, read your table: as `owner.name` in a query."""
    await tables.grant(caller, name, grantee_of(grantee))
    return Nothing()


@router.delete("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def revoke_table(tables: TablesOf, caller: Caller, name: Name, grantee: Grantee) -> Nothing:
    """Take a grant back."""
    await tables.revoke(caller, name, grantee_of(grantee))
    return Nothing()


def _form(request: Request) -> DataFormat:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = MEDIA_TYPES.get(media_type)
    if form is None:
        known = ", ".join(MEDIA_TYPES)
        raise InvalidField(
            f'The header "Content-Type" says {media_type!a}; it has to be one of {known}. Or say '
            '"?format=csv", "parquet", "ndjson" or "arrow".',
            field="Content-Type",
        )
    return form


def _charset(request: Request) -> str | None:
    """Read the charset of the Content-Type; None: it says none."""
    for parameter in request.headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            said = value.strip().strip('"')
            charset = charset_of(said)
            if charset is None:
                raise InvalidField(
                    f'The header "Content-Type" says charset={said!a}; there are '
                    f"{', '.join(CHARSETS)}.",
                    field="Content-Type",
                )
            return charset
    return None
