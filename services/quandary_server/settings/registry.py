"""The section of the registry."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from quandary.errors import InvalidArgument
from quandary_server.registry.retention import KEEP, LEFTOVERS_AFTER, Retention
from quandary_server.registry.s3_objects import S3Place
from quandary_server.settings.section import Section

__all__ = ["RegistrySettings"]


class RegistrySettings(Section):
    """Where generations are kept, and for how long."""

    url: str = Field(default="", description="s3://BUCKET/PREFIX; empty: the directory registry of the data directory")
    endpoint: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="http(s)://HOST:PORT of what speaks S3; empty: as AWS's tools find it",
    )
    region: str = Field(default="", description="of the bucket; empty: as AWS's tools find it")
    timeout: timedelta = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=5),
        description="how long S3 may take for a request, retries included",
    )
    keep: int = Field(
        default=KEEP, ge=1, le=10_000, description="newest generations that are kept; older ones only if pinned or in use"
    )
    leftovers_after: timedelta = Field(
        default=LEFTOVERS_AFTER,
        ge=timedelta(hours=1),
        le=timedelta(days=365),
        description="age at which files of a registration that never came to its end are deleted",
    )

    @model_validator(mode="after")
    def _of_a_bucket(self) -> Self:
        if self.s3 is None and (self.endpoint or self.region):
            raise InvalidArgument.of("url", repr(self.url), "s3://BUCKET/PREFIX where an endpoint or a region is set")
        return self

    @property
    def s3(self) -> S3Place | None:
        """Where in S3, None for a directory."""
        return S3Place(self.url, self.endpoint, self.region, self.timeout) if self.url else None

    @property
    def retention(self) -> Retention:
        """What is kept."""
        return Retention(self.keep, self.leftovers_after)
