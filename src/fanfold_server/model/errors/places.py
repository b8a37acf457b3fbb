"""The caller's mistake: environments."""

from __future__ import annotations

from fanfold_server.model.errors.family import CallerError


class EnvironmentNotFound(CallerError):
    """There is no environment of this name that was built here."""

    code = 2070


class InvalidEnvironment(CallerError):
    """What the environment is to be made from cannot be read."""

    code = 2071


class EnvironmentExists(CallerError):
    """An environment of this name exists; send "overwrite": true to make a new version."""

    code = 2072


class EnvironmentInUse(CallerError):
    """The environment is in use; wait for its runs to end, or cancel them."""

    code = 2073


class UnknownBuild(CallerError):
    """There is no build of this id."""

    code = 2074


class BuildFailed(CallerError):
    """The environment could not be made."""

    code = 2075


class PackageGone(CallerError):
    """A package of the environment cannot be had any more from where it came."""

    code = 2078


class PreloadRefused(CallerError):
    """The environment cannot be preloaded."""

    code = 2076


class NotPreloaded(CallerError):
    """You have not preloaded this environment."""

    code = 2077
