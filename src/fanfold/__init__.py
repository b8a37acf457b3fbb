"""The caller's side: the SDK and the shell command `fanfold`."""

from importlib.metadata import version

__version__ = version("fanfold")
