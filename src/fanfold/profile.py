"""Which server, and who one is: what was given, else the environment, else the profile file.

`fanfold login` writes the profile: a file that only its owner may read, with a token and never a
password. A token that was refreshed is written back.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fanfold.faults import NotLoggedIn

DEFAULT = "default"


@dataclass(frozen=True)
class Profile:
    """A login that was kept.

    Attributes:
        expires: when the token ends, as `time.time()` counts.
    """

    url: str
    username: str
    token: str
    expires: float


def profile_file(variables: Mapping[str, str] | None = None) -> Path:
    """Say where profiles are kept: FANFOLD_PROFILES, else below the user's configuration."""
    found = os.environ if variables is None else variables
    if "FANFOLD_PROFILES" in found:
        return Path(found["FANFOLD_PROFILES"])
    folder = found.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(folder) / "fanfold" / "profiles.json"


def chosen_profile(variables: Mapping[str, str] | None = None) -> str:
    """Say which profile is meant: FANFOLD_PROFILE, else the one called "default"."""
    found = os.environ if variables is None else variables
    return found.get("FANFOLD_PROFILE") or DEFAULT


def read_profile(name: str, file: Path) -> Profile | None:
    """Read a profile; None if there is none.

    Raises:
        NotLoggedIn: the file is no file of profiles.
    """
    members = _all(file).get(name)
    if members is None:
        return None
    try:
        return Profile(
            str(members["url"]),
            str(members["username"]),
            str(members["token"]),
            float(str(members["expires"])),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise NotLoggedIn(f'{file} is damaged: run "fanfold login" again.') from exc


def write_profile(name: str, profile: Profile | None, file: Path) -> None:
    """Keep a profile, or forget it; the file is replaced whole, and only its owner may read it."""
    profiles = _all(file)
    if profile is None:
        profiles.pop(name, None)
    else:
        profiles[name] = asdict(profile)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(profiles, out, indent=2)
        fresh.replace(file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()


def _all(file: Path) -> dict[str, dict[str, object]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as exc:
        raise NotLoggedIn(f'{file} is damaged: run "fanfold login" again.') from exc
    return found if isinstance(found, dict) else {}
