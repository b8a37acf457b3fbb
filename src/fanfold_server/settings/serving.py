"""Settings of the server itself: where it is, what it takes from connections, what it logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from fanfold_server.model.identity import is_this_machine
from fanfold_server.settings.types import SettingsError, default_data


class PlaceSettings(BaseModel):
    """Where the server is."""

    data: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default_factory=default_data,
        description="Directory of the server's state: database, environments, settings file.",
    )
    database: str | None = Field(
        None,
        pattern=r"^postgres(ql(\+psycopg)?)?://\S+$",
        repr=False,
        description="Address of a PostgreSQL, postgresql://user:password@host/name, which several "
        "servers and agents may share; otherwise the file fanfold.db in the data directory.",
    )
    blobs: str | None = Field(
        None,
        description="Where large results are kept: a directory that all agents share, or the "
        "address of an object store, s3://bucket/prefix; otherwise DATA/blobs.",
    )
    secret_key: Path | None = Field(
        None,
        description="File with the key that seals secrets, for servers and agents that share a "
        "database; otherwise secrets.key in the data directory, made when it is needed.",
    )
    config: Path | None = Field(
        None, description="TOML file with settings; otherwise fanfold.toml in the data directory."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    tls_certificate: Path | None = Field(
        None, description="PEM file with the server's certificate and its chain."
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key.")
    insecure_http: bool = Field(
        False,
        description="Listen beyond this machine without TLS (behind a proxy that adds it).",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+$",
        description="Scheme, host and port under which clients reach the server, for links.",
    )
    trust_forwarded: bool = Field(
        False,
        description="Take scheme and host of links from X-Forwarded-Proto and X-Forwarded-Host, "
        "which a proxy in front sets on every request.",
    )

    @model_validator(mode="after")
    def _has_both_of_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are needed together")
        return self

    @property
    def tls(self) -> bool:
        """Whether the server speaks TLS itself."""
        return self.tls_certificate is not None

    @property
    def database_file(self) -> Path:
        """The file of the embedded database."""
        return self.data / "fanfold.db"

    def refuse_exposure(self) -> None:
        """Refuse to send passwords and tokens over a network in the clear.

        Apart from the rest, since only a server that listens is concerned.

        Raises:
            SettingsError: `host` is not this machine alone, and there is no TLS.
        """
        if self.tls or self.insecure_http or is_this_machine(self.host):
            return
        raise SettingsError(
            f"host: {self.host} can be reached from other machines, and passwords and tokens would "
            "travel in the clear. Give --tls-certificate and --tls-key; or, behind a proxy that "
            "adds TLS, --insecure-http."
        )


class RequestSettings(BaseModel):
    """Requests."""

    max_body_mib: int = Field(16, ge=1, description="Largest request body, in MiB.")
    max_head_kib: int = Field(
        64, ge=4, le=1024, description="Largest request line with all headers, in KiB."
    )
    max_connections: int = Field(
        8192,
        ge=16,
        description="Connections at once; at more, the one that has said nothing for longest is "
        "closed.",
    )
    head_timeout_s: int = Field(
        20, ge=1, description="How long a client may take for the headers of a request, in s."
    )
    body_timeout_s: int = Field(
        60,
        ge=1,
        description="How far a client may fall behind while it sends a body, in s; 4 KiB/s is "
        "enough.",
    )


class LogSettings(BaseModel):
    """Logs."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe messages that are logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="One JSON object a line, or lines for people."
    )
    access_log: bool = Field(True, description="Log a line for every request.")
    audit_days: int = Field(
        365, ge=0, description="How long entries of the audit log are kept, in days; 0: for ever."
    )
