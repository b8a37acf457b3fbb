"""What an identity provider is, stated as the use cases need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What a provider has signed.

    Attributes:
        claims: what it says of the token's holder, as JSON has it.
        life_s: how long that holds yet, seconds, > 0.
    """

    claims: Mapping[str, object]
    life_s: float


class IdentityProvider(Protocol):
    """Tells the provider's tokens from forged ones.

    An implementer guarantees that what it gives was signed by a key of the provider's, with an
    algorithm that the operator admits, for this server, and holds now; and that asking costs the
    provider little, however many tokens come that nobody has issued.
    """

    async def vouch(self, token: bytes) -> Vouched | None:
        """Check a token; None: it is of another kind.

        Raises:
            Unauthenticated: it is of this kind, and not valid. The message says why, and nothing of
                what is in it.
            IdentityUnavailable: the provider's keys are needed, and cannot be had.
        """
        ...
