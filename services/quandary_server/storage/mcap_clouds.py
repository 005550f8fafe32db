"""Clouds inside MCAP files, by reference."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from google.protobuf.message import DecodeError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from numpy.typing import NDArray

from quandary.errors import CorruptArtefact, InvalidArgument, NotFound, TooLarge, Unavailable, Violation
from quandary_server.storage.mcap_cursor import CLOUD_SCHEMA
from quandary_server.storage.mcap_records import UNREADABLE, chunk_records, data_end_at, framed_at, identity_of
from quandary_server.storage.mcap_reference import McapReference
from quandary_server.storage.point_clouds import points_of

__all__ = ["read_mcap_cloud"]


def read_mcap_cloud(uri: str, *, max_bytes: int) -> NDArray[np.float32]:
    """Return the points (N, 4) of the PointCloud at an mcap: URI, as `points_of` does.

    It is looked for in the chunk that the URI tells, then by the file's index, or from its start where it has no end yet, and
    in a file of the same folder that is the one meant under another name. Raises InvalidArgument for a malformed URI or cloud,
    NotFound if there is none, TooLarge over `max_bytes`, CorruptArtefact for a file that is damaged there, Unavailable if it
    cannot be read. All name the URI.
    """
    reference = McapReference.parse(uri)
    if reference.path is None:
        raise InvalidArgument.of("cloud_uri", uri, "an mcap: URI with a path, outside of the file that it means")
    try:
        path = _file_of(reference, reference.path)
        if path.exists() and not path.is_file():  # a pipe would never end
            raise InvalidArgument.of("cloud_uri", uri, "the URI of a regular file")
        with path.open("rb") as file:
            data = _hinted(file, reference) or _searched(file, reference)
    except FileNotFoundError:
        raise NotFound(f"there is no file of the cloud at {uri}") from None
    except OSError as error:
        raise Unavailable(f"the cloud at {uri} cannot be read: {error.strerror}") from error
    except (CorruptArtefact, *UNREADABLE) as error:
        raise CorruptArtefact(f"the file of the cloud at {uri} is damaged: {error}") from error
    if data is None:
        raise NotFound(f"there is no cloud at {uri}")
    if len(data) > max_bytes:
        violation = Violation("cloud_uri", f"{uri} of {len(data)} bytes", f"a cloud of at most {max_bytes} bytes")
        raise TooLarge(str(violation), violations=[violation])
    try:
        return points_of(PointCloud.FromString(data), uri)
    except DecodeError:
        raise InvalidArgument.of("cloud_uri", uri, f"a {CLOUD_SCHEMA}") from None


def _file_of(reference: McapReference, path: Path) -> Path:
    """Return the file meant: the one at the path, or, where that has another beginning, one beside it."""
    if not reference.file or _begins(path, reference.file):
        return path
    others = (other for other in sorted(path.parent.glob("*.mcap")) if other != path)
    return next((other for other in others if _begins(other, reference.file)), path)


def _begins(path: Path, identity: str) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return identity_of(file, path.stat().st_size) == identity
    except OSError:
        return False


def _hinted(file: BinaryIO, reference: McapReference) -> bytes | None:
    """Return the message of the chunk and channel that the reference tells; None where it is not there."""
    if reference.chunk is None:
        return None
    file.seek(0, 2)
    size = file.tell()
    framed = framed_at(file, reference.chunk, size)
    if framed is None or framed.end > size or framed.opcode != Opcode.CHUNK:
        return None
    try:
        records = chunk_records(framed.read(file))
    except CorruptArtefact:
        return None
    messages = (record for record in records if isinstance(record, Message) and record.channel_id == reference.channel)
    return next((message.data for message in messages if _meant(message, reference)), None)


def _searched(file: BinaryIO, reference: McapReference) -> bytes | None:
    finished = data_end_at(file, file.seek(0, 2)) is not None
    file.seek(0)
    return next(_messages(file, reference) if finished else _messages_so_far(file, reference), None)


def _messages_so_far(file: BinaryIO, reference: McapReference) -> Iterator[bytes]:
    """Yield what is meant of a file without an end, which has no index: all of it up to where it breaks off is read."""
    schemas: dict[int, str] = {}
    channels: dict[int, Channel] = {}
    with suppress(*UNREADABLE):  # the cut, or damage: what lies behind it cannot be told
        for record in StreamReader(file, validate_crcs=True).records:
            match record:
                case Schema():
                    schemas[record.id] = record.name
                case Channel():
                    channels[record.id] = record
                case Message() if _meant(record, reference) and (channel := channels.get(record.channel_id)):
                    if channel.topic == reference.topic and schemas.get(channel.schema_id) == CLOUD_SCHEMA:
                        yield record.data


def _messages(file: BinaryIO, reference: McapReference) -> Iterator[bytes]:
    reader = make_reader(file, validate_crcs=True)
    found = reader.iter_messages(
        topics=[reference.topic], starting_at=reference.time, ending_at=reference.time, log_time_order=False
    )
    for schema, _, message in found:
        if _meant(message, reference) and schema is not None and schema.name == CLOUD_SCHEMA:
            yield message.data


def _meant(message: Message, reference: McapReference) -> bool:
    return message.log_time == reference.time and reference.sequence in (None, message.sequence)
