"""The caller's mistake: queries, tables, databases, and what functions keep."""

from __future__ import annotations

from fanfold_server.model.errors.family import CallerError


class InvalidQuery(CallerError):
    """The query has to be one SELECT statement, or the name of a table."""

    code = 2040


class UnknownTable(CallerError):
    """There is no table of this name that you may read."""

    code = 2041


class UnknownColumn(CallerError):
    """The query gives no column of this name."""

    code = 2042


class UnknownSource(CallerError):
    """There is no database of this name."""

    code = 2043


class UnsupportedColumn(CallerError):
    """A column has a type that cannot be handed to a function."""

    code = 2044


class QueryTimedOut(CallerError):
    """The query took longer than this server allows."""

    code = 2045


class QueryTooLarge(CallerError):
    """The query needs more memory, or gives more rows, than this server allows."""

    code = 2046


class InvalidTable(CallerError):
    """The data cannot be read as a table."""

    code = 2047


class AskRefused(CallerError):
    """The function has asked for something that it may not have."""

    code = 2060


class UnknownDatastore(CallerError):
    """There is no datastore, or no object in it, of this name that you may use."""

    code = 2061


class DatastoreExists(CallerError):
    """A datastore of this name exists: overwrite it, or append to it."""

    code = 2062


class NotGrantable(CallerError):
    """The datastore may not be granted: save it with grantable=True."""

    code = 2063


class TableExists(CallerError):
    """A table of this name exists: overwrite it, or take another name."""

    code = 2064


class NotTabular(CallerError):
    """The job's result is no table."""

    code = 2065
