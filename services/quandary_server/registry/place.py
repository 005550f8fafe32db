"""Where a registry is, as settings say it and as a replica on another machine is told."""

from dataclasses import dataclass
from pathlib import Path

from quandary_server.registry.directory import Registry
from quandary_server.registry.s3_objects import S3Objects, S3Place


@dataclass(frozen=True)
class RegistryPlace:
    """A directory, unless it is in S3."""

    directory: Path
    s3: S3Place | None = None

    def open(self) -> Registry:
        """Open the registry; nothing is asked of S3 yet. Raises Unavailable where what S3 needs is not installed."""
        return Registry(self.directory if self.s3 is None else S3Objects(self.s3))
