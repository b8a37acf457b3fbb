"""A real OpenID provider, oidc-provider, run by Node.js; whoever lacks that skips, and is told.

Its packages are installed once a checkout, exactly those that `package-lock.json` names with their
hashes, and without running what they bring.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import httpx2
import pytest
from joserfc.jwk import RSAKey

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "openid-provider"
FILES = ("package.json", "package-lock.json", "provider.mjs")
SECRET = "a secret of the tests"
INSTALL_LIMIT_S = 120
START_LIMIT_S = 120


def fresh_key(name: str) -> RSAKey:
    """Make a key of the provider's."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


def installed() -> Path:
    """Give the folder with the provider; the first time on a machine this installs it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"the OpenID provider of these tests needs {program}, which is not here")
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    folder = CACHE / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in FILES:
                shutil.copyfile(HERE / name, folder / name)
            command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=INSTALL_LIMIT_S,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"the OpenID provider cannot be installed: {done.stderr[-300:]}")
            (folder / "complete").touch()
    return folder


class Provider:
    """The provider, which can be stopped and started again with other keys.

    Args:
        folder: a directory of the test's own.
        port: it listens there.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._program = installed() / "provider.mjs"
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._port = port
        self.issuer = f"http://127.0.0.1:{self._port}"

    def start(self, *keys: RSAKey) -> None:
        """Start it; the first key signs."""
        file = self._folder / f"keys-{self._port}.json"
        file.write_text(json.dumps({"keys": [key.as_dict(private=True) for key in keys]}))
        with (self._folder / f"provider-{self._port}.log").open("a") as log:
            self._process = subprocess.Popen(
                ["node", self._program, self.issuer, str(self._port), file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            try:
                httpx2.get(f"{self.issuer}/jwks").raise_for_status()
            except httpx2.HTTPError:
                assert self._process.poll() is None, "the provider has ended"
                time.sleep(0.05)
                continue
            return
        raise AssertionError("the provider did not start")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_LIMIT_S)
            self._process = None

    def token(self, client: str, resource: str = "urn:fanfold") -> str:
        """Obtain a token as a program does; see `provider.mjs` for the names."""
        answer = httpx2.post(
            f"{self.issuer}/token",
            auth=(client, SECRET.replace(" ", "+")),
            data={"grant_type": "client_credentials", "resource": resource},
        )
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token
