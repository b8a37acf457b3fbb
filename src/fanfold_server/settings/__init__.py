"""Everything an operator can set: name, default, unit, help.

A value comes from the command line, else from a variable `FANFOLD_…`, else from a TOML file
(`--config`, or `fanfold.toml` in the data directory), else from the default. The options of
`fanfold serve` and the reference page are made from `Settings`.
"""

from fanfold_server.settings.settings import CONFIG_NAME, ENV_PREFIX, MIB, Settings, load_settings
from fanfold_server.settings.types import LevelLimits, SettingsError

__all__ = [
    "CONFIG_NAME",
    "ENV_PREFIX",
    "MIB",
    "LevelLimits",
    "Settings",
    "SettingsError",
    "load_settings",
]
