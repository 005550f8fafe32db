"""Sections that services share: TLS, the store's database, the Ray cluster."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, SecretStr, field_serializer, model_validator

from quandary_server.settings.section import Section

if TYPE_CHECKING:
    import grpc

    from quandary_server.storage.options import StoreOptions

__all__ = ["RaySettings", "StoreSettings", "TlsSettings"]


class TlsSettings(Section):
    """TLS towards a service, as the front in deploy/envoy wants it. Nothing set: plain text."""

    ca: Path | None = Field(default=None, description="PEM file of the authorities that its certificate may come from")
    certificate: Path | None = Field(default=None, description="PEM file of our certificate, with its chain")
    key: Path | None = Field(default=None, description="PEM file of its private key")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None) or (self.key and not self.ca):
            raise ValueError("ca alone, or ca, certificate and key")
        return self

    def credentials(self) -> "grpc.ChannelCredentials | None":
        """Return what a client wants for TLS, None for plain text; the files are read now. Raises InvalidArgument."""
        from quandary.connection import tls_credentials  # gRPC is for who connects, not for who reads settings

        return None if self.ca is None else tls_credentials(self.ca, self.certificate, self.key)


class StoreSettings(Section):
    """The database of queues, labels, runs and audit."""

    url: SecretStr = Field(
        default=SecretStr(""),
        description="postgresql://USER@HOST/DATABASE or sqlite:///PATH; empty: the file quandary.db of the data directory",
    )
    upgrade: bool | None = Field(
        default=None, description="bring its schema up to date at the start; None: SQLite yes, PostgreSQL no"
    )
    connections: int = Field(default=16, ge=2, le=1000, description="connections to PostgreSQL at most, of each process")
    lock_timeout: timedelta = Field(
        default=timedelta(seconds=30), ge=timedelta(milliseconds=100), description="how long a call waits for other writers"
    )
    statement_timeout: timedelta = Field(
        default=timedelta(minutes=2), ge=timedelta(seconds=1), description="how long a statement of PostgreSQL may take"
    )

    @field_serializer("url", when_used="json")
    def _as_it_is(self, url: SecretStr) -> str:
        return url.get_secret_value()  # JSON is for another process: see Settings.environment

    def options(self) -> "StoreOptions":
        """Return how the store uses its database."""
        from quandary_server.storage.options import StoreOptions  # SQLAlchemy is for who opens it

        return StoreOptions(self.upgrade, self.connections, self.lock_timeout, self.statement_timeout)


class RaySettings(Section):
    """The Ray cluster that scoring and trainer use."""

    address: str = Field(default="", description="host:port of a cluster; empty: start one on this machine")
    cpus: int | None = Field(default=None, ge=1, description="CPUs of the one started here; None: all there are")
