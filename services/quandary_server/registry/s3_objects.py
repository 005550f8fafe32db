"""A registry's objects in a bucket of S3, or of a store that speaks its protocol and knows If-Match and If-None-Match on PUT.

obstore does the protocol: signing, retries, credentials from the environment as AWS's own tools have them.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quandary.errors import InvalidArgument, Unavailable
from quandary_server.registry.objects import Changed, Entry, Found, NoObject, Objects

if TYPE_CHECKING:
    from obstore.store import S3Store

HEARTBEAT = timedelta(seconds=3)
"""A request costs money there, and LOST_AFTER leaves room for two that are lost."""
RETRIES = 3


@dataclass(frozen=True)
class S3Place:
    """Where in S3: s3://BUCKET/PREFIX, how to reach it, and how long one request may take, its retries included."""

    url: str
    endpoint: str = ""
    region: str = ""
    timeout: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise InvalidArgument.of("url", self.url, "s3://BUCKET or s3://BUCKET/PREFIX")

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What every key begins with, without the slash; empty for the bucket itself."""
        return urlsplit(self.url).path.strip("/")


class S3Objects(Objects):
    """Objects below a prefix of a bucket. Raises Unavailable, now, where obstore is not installed."""

    heartbeat = HEARTBEAT

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._made: S3Store | None = None
        self._making = threading.Lock()
        try:
            import obstore  # noqa: F401
        except ModuleNotFoundError:
            raise Unavailable("obstore is needed for a registry in S3: pip install 'quandary[s3]'") from None

    def __reduce__(self) -> tuple[type["S3Objects"], tuple[S3Place]]:
        return S3Objects, (self._place,)

    def read(self, key: str) -> Found:
        """Get an object; its version is its ETag."""
        import obstore

        with self._asked(key):
            got = obstore.get(self._store, key)
            return Found(bytes(got.bytes()), got.meta["e_tag"] or "")

    def swap(self, key: str, data: bytes, version: str | None) -> None:
        """Put an object with If-Match, or with If-None-Match: *."""
        import obstore

        mode: Any = "create" if version is None else {"e_tag": version}
        try:
            with self._asked(key):
                # one request, whatever its size: parts cannot be put on a condition
                obstore.put(self._store, key, data, mode=mode, use_multipart=False)
        except (Changed, NoObject):
            # a request whose answer was lost is tried again, and then finds what it has written itself
            if not self._holds(key, data):
                raise Changed(key) from None

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.read(key).data == data
        except NoObject:
            return False

    def write(self, key: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        with self._asked(key):
            obstore.put(self._store, key, data, use_multipart=False)

    def delete(self, key: str) -> None:
        """Delete an object."""
        import obstore

        try:
            with self._asked(key):
                obstore.delete(self._store, key)
        except NoObject:
            return

    def entries(self, folder: str) -> Sequence[Entry]:
        """List the objects of a folder, a thousand for each request."""
        found = self._listed(folder)["objects"]
        entries = [Entry(o["path"].rpartition("/")[2], o["last_modified"], o["e_tag"] or "") for o in found]
        return sorted(entries, key=lambda entry: entry.name)

    def folders(self, folder: str) -> Sequence[str]:
        """List the common prefixes of a folder."""
        return sorted(path.rstrip("/").rpartition("/")[2] for path in self._listed(folder)["common_prefixes"])

    def _listed(self, folder: str) -> Any:
        import obstore

        with self._asked(folder):
            return obstore.list_with_delimiter(self._store, folder)

    @property
    def _store(self) -> "S3Store":
        """What speaks to the bucket, made on first use: a process that is forked must not share it."""
        with self._making:
            if self._made is None:
                self._made = self._opened()
            return self._made

    def _opened(self) -> "S3Store":
        from obstore.store import S3Store

        place, timeout = self._place, self._place.timeout
        own = {"endpoint": place.endpoint, "region": place.region}
        return S3Store(
            place.bucket,
            prefix=place.prefix or None,
            client_options={"timeout": timeout, "connect_timeout": timeout, "allow_http": place.endpoint.startswith("http:")},
            retry_config={"max_retries": RETRIES, "retry_timeout": timeout},
            **{name: value for name, value in own.items() if value},  # type: ignore[arg-type]
        )

    @contextmanager
    def _asked(self, key: str) -> Iterator[None]:
        """Tell what obstore raises in our words; of one sort always in the same, so that a log can tell it once."""
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise Unavailable(f"there is no bucket {self._place.bucket}") from None
            raise NoObject(key) from None
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise Changed(key) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise Unavailable(f"{self._place.url} does not let us at {key}: credentials or their permissions") from error
        except (exceptions.BaseError, OSError) as error:
            raise Unavailable(f"{self._place.url} could not be reached") from error
