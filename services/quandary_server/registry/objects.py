"""The port of a registry: small named files that are made, replaced and deleted one at a time.

Two adapters: `directory_objects` and `s3_objects`. A key is a path below the registry, parts joined by `/`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


class NoObject(Exception):
    """There is no object of this key."""


class Changed(Exception):
    """An object is not, or no longer, of the version that was to be replaced; of None: there is one already."""


@dataclass(frozen=True)
class Found:
    """The bytes of an object, and the version that a replacement must name."""

    data: bytes
    version: str


@dataclass(frozen=True)
class Entry:
    """An object in a listing; version: another one says that it was written since, empty where a listing does not tell."""

    name: str
    modified: datetime
    version: str = ""


class Objects(ABC):
    """Where a registry is kept. Every method may raise Unavailable; several processes may use one place at once."""

    heartbeat: timedelta
    """How often a replica may write its heartbeat there."""

    @abstractmethod
    def read(self, key: str) -> Found:
        """Return an object; raises NoObject."""

    @abstractmethod
    def swap(self, key: str, data: bytes, version: str | None) -> None:
        """Write an object in place of this version of it (None: where there is none), all of it or nothing, to last.

        Raises Changed where another version is there. Of several at once exactly one does not; data that must be told from
        another writer's is to differ from it, since one that finds its own data there takes it for its own.
        """

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write an object whatever is there; a power cut may undo it."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""

    @abstractmethod
    def entries(self, folder: str) -> Sequence[Entry]:
        """Return the objects right below a folder by name; none where there is no such folder."""

    @abstractmethod
    def folders(self, folder: str) -> Sequence[str]:
        """Return the names of the folders right below a folder."""
