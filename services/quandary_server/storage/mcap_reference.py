"""mcap: URIs, which name a point cloud inside an MCAP file."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from quandary.errors import InvalidArgument

__all__ = ["SCHEME", "McapReference"]

SCHEME = "mcap:"
NUMBERS = ("time", "sequence", "chunk", "channel")
BOUND = "mcap:[///PATH]?topic=TOPIC&time=NANOSECONDS[&sequence=N], percent-encoded"


@dataclass(frozen=True, slots=True)
class McapReference:
    """A message by topic, log time in nanoseconds and sequence (None: any).

    path: the file; None in a record that means the file it is in. file: the file's identity, by which it is found where it
    has been renamed. chunk, channel: byte of the chunk that holds the message and number of its channel, for a first look.
    """

    topic: str
    time: int
    sequence: int | None = None
    path: Path | None = None
    file: str = ""
    chunk: int | None = None
    channel: int | None = None

    @classmethod
    def parse(cls, uri: str) -> "McapReference":
        """Return what an mcap: URI names. Raises InvalidArgument for any other URI."""
        try:
            parts = urlsplit(uri)
            path = unquote(parts.path, errors="strict")
            found = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True, errors="strict"))
            numbers = {name: int(found.pop(name)) for name in NUMBERS if name in found}
            rooted = not path or path.startswith("/")
            if parts.scheme != "mcap" or parts.netloc or parts.fragment or not rooted or "\0" in path:
                raise ValueError(uri)
            if min(numbers.values()) < 0:
                raise ValueError(uri)
            reference = cls(
                found.pop("topic"),
                numbers["time"],
                numbers.get("sequence"),
                file=found.pop("file", ""),
                chunk=numbers.get("chunk"),
                channel=numbers.get("channel"),
            )
        except (ValueError, KeyError):
            raise InvalidArgument.of("cloud_uri", uri, BOUND) from None
        if found:
            raise InvalidArgument.of("cloud_uri", uri, BOUND)
        return replace(reference, path=Path(path)) if path else reference

    def uri(self) -> str:
        """Return the URI."""
        values = {"topic": self.topic, "file": self.file, **{name: getattr(self, name) for name in NUMBERS}}
        query = urlencode({name: value for name, value in values.items() if value not in (None, "")}, quote_via=quote)
        where = f"//{quote(str(self.path))}" if self.path else ""
        return f"{SCHEME}{where}?{query}"

    def inside(self, path: Path, file: str, place: tuple[int, int] | None) -> "McapReference":
        """Return the reference seen from outside of the file that it is in; place: chunk and channel, where known."""
        chunk, channel = place or (None, None)
        return replace(self, path=path, file=file, chunk=chunk, channel=channel)
