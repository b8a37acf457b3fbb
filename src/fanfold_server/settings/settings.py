"""The settings of one server, gathered from all places where an operator may say them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from fanfold_server.settings.identity import IdentitySettings
from fanfold_server.settings.serving import LogSettings, PlaceSettings, RequestSettings
from fanfold_server.settings.types import SettingsError, default_data
from fanfold_server.settings.work import DataSettings, JobSettings, RunSettings
from fanfold_server.settings.workers import EnvironmentSettings, IsolationSettings, WorkerSettings

CONFIG_NAME = "fanfold.toml"
ENV_PREFIX = "FANFOLD_"

MIB = 1024 * 1024
"""Bytes of the unit of what is called `…_mib`."""


class Settings(  # the fields of the last come first: help and the reference have this order
    LogSettings,
    IdentitySettings,
    RequestSettings,
    DataSettings,
    JobSettings,
    RunSettings,
    IsolationSettings,
    WorkerSettings,
    EnvironmentSettings,
    PlaceSettings,
    BaseSettings,
):
    """The settings of one server. Never changed once made; use `load_settings`.

    What belongs together is a class of its own, whose docstring is its heading on the reference
    page. They are inherited and not members since a setting has one flat name wherever it is said.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file, which the first two may name, after them."""
        said = {**env_settings(), **init_settings()}
        if config := said.get("config"):
            text = Path(config).read_bytes()  # at once, and once: it may be a pipe
        else:
            path = Path(said.get("data") or default_data()) / CONFIG_NAME
            text = path.read_bytes() if path.is_file() else b""
        file_settings = InitSettingsSource(settings_cls, tomllib.loads(text.decode()))
        return init_settings, env_settings, file_settings

    @property
    def environments_folder(self) -> Path:
        """Where environments are built and registered: absolute, it is written into files."""
        return (self.environments or self.data / "environments").absolute()


def load_settings(given: Mapping[str, object] | None = None) -> Settings:
    """Gather the settings from the command line, the environment, the file and the defaults.

    Args:
        given: what the command line says, by field name; what it leaves out is not in it.

    Raises:
        SettingsError: a value is wrong, a name is unknown, or the file cannot be read.
    """
    try:
        return Settings(**dict(given or {}))  # type: ignore[arg-type]  # what it is for
    except ValidationError as exc:
        raise SettingsError("\n".join(_line(error) for error in exc.errors())) from exc
    except OSError as exc:
        raise SettingsError(f"config: cannot read {exc.filename}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"config: the file is not TOML: {exc}") from exc


def _line(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    if not name:
        return message
    return f"{name}: {message[:1].lower()}{message[1:]}, not {error['input']!r}"
