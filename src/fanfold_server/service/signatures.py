"""Whether the function of a script takes what a run would give it, before anything is queued.

What a function takes is read by `fanfold_runtime.signatures`, which a run without a server asks,
too: both refuse alike. Here it is remembered, and becomes the server's error.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from fanfold_runtime.signatures import (
    GENERATOR,
    Parameter,
    Schema,
    Signature,
    refusal_of,
    schema_of,
    signature_of,
)
from fanfold_server.model.errors import InvalidArguments
from fanfold_server.model.script import Script

__all__ = [
    "GENERATOR",
    "Parameter",
    "Schema",
    "Signature",
    "Signatures",
    "schema_of",
    "signature_of",
]

REMEMBERED: Final = 4096
"""How many calls that are right are remembered; at more, all are forgotten and looked at again."""

REMEMBERED_BYTES: Final = 512
"""Longer arguments are looked at each time."""


class Signatures:
    """Checks arguments, and remembers which were right: clients repeat themselves."""

    def __init__(self) -> None:
        self._signatures: dict[tuple[str, str], Signature | None] = {}
        self._right: set[tuple[str, str, int, bytes, bool]] = set()

    def check(self, script: Script, positional: int, parameters: bytes, *, types: bool) -> None:
        """See whether a function takes what it would be given.

        Args:
            positional: how many arguments the run itself gives: its index, or its rows.
            parameters: JSON text of an object, the keyword arguments.
            types: also compare their types with the annotations.

        Raises:
            InvalidArguments: it does not.
        """
        key = (script.digest, script.entry, positional, parameters, types)
        if key in self._right:
            return
        signature = self.of(script)
        if signature is not None:
            arguments: dict[str, Any] = orjson.loads(parameters)
            refusal = refusal_of(signature, positional, arguments, types=types)
            if refusal is not None:
                about = {"argument": refusal.argument} if refusal.argument else {}
                raise InvalidArguments(refusal.message, error_type="TypeError", **about)
        if len(parameters) > REMEMBERED_BYTES:
            return
        if len(self._right) >= REMEMBERED:
            self._right.clear()
        self._right.add(key)

    def of(self, script: Script) -> Signature | None:
        """Give the signature of a script's function; None if nothing is certain about it."""
        key = (script.digest, script.entry)
        if key not in self._signatures:
            if len(self._signatures) >= REMEMBERED:
                self._signatures.clear()
            self._signatures[key] = signature_of(script.source, script.entry)
        return self._signatures[key]
