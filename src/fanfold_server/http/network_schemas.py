"""The shapes of what a script may reach of the network."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from fanfold_server.model.network import MAX_HOSTS, Network, ScriptNetwork
from fanfold_server.service.network import read_network

_POLICY = (
    "none: nothing; allow-list: `hosts`, through a proxy; full: whatever the server's machine can."
)


class NetworkIn(BaseModel):
    """A network policy."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"policy": "allow-list", "hosts": ["api.example.org:443"]}},
    )

    policy: Annotated[Literal["none", "allow-list", "full"], Field(description=_POLICY)]
    hosts: Annotated[
        list[str],
        Field(
            max_length=MAX_HOSTS,
            description="api.example.org (its ports 80 and 443), api.example.org:8443, "
            "*.example.org, 10.1.2.3:5432, 10.1.0.0/16:80, [fd00::1]:443.",
        ),
    ] = []

    def network(self) -> Network:
        """Read it. Raises InvalidField."""
        return read_network(self.policy, self.hosts)


class NetworkOut(BaseModel):
    """A network policy."""

    policy: Annotated[Literal["none", "allow-list", "full"], Field(description=_POLICY)]
    hosts: Annotated[list[str], Field(description="Each with its port.")]

    @classmethod
    def of(cls, network: Network) -> Self:
        """Describe a policy."""
        return cls(policy=network.reach.value, hosts=list(map(str, network.hosts)))


class ScriptNetworkOut(BaseModel):
    """What has been decided of a script."""

    grant: Annotated[
        NetworkOut | None, Field(description="What an administrator lets it reach besides.")
    ]
    limit: Annotated[NetworkOut | None, Field(description="What its owner keeps it to.")]

    @classmethod
    def of(cls, decided: ScriptNetwork) -> Self:
        """Describe it."""
        return cls(
            grant=None if decided.grant is None else NetworkOut.of(decided.grant),
            limit=None if decided.limit is None else NetworkOut.of(decided.limit),
        )


class NetworkInForce(ScriptNetworkOut):
    """What has been decided of a script, and what comes of it."""

    env_name: Annotated[str, Field(alias="envName")]
    effective: Annotated[NetworkOut, Field(description="What it may reach in that environment.")]


class NetworkGrantOut(NetworkOut):
    """What a script may reach by an administrator's grant."""

    owner: str
    name: str


class NetworkGrantList(BaseModel):
    """Everything that is granted."""

    grants: list[NetworkGrantOut]
