"""Reads the frame records of an MCAP file forward, and goes on where it stopped when the file has grown."""

from collections import OrderedDict
from datetime import UTC, datetime
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, McapRecord, Message, Schema

from quandary.errors import CorruptArtefact, InvalidArgument
from quandary.v1 import fleet_log_pb2
from quandary_server.storage.frame_log import LogEntry
from quandary_server.storage.mcap_records import MAGIC, UNREADABLE, Framed, chunk_records, framed_at
from quandary_server.storage.mcap_reference import SCHEME, McapReference

__all__ = ["CLOUD_SCHEMA", "INDEX_BITS", "RECORD_SCHEMA", "McapCursor", "Stop", "position_of"]

RECORD_SCHEMA = "quandary.v1.FrameRecord"
CLOUD_SCHEMA = "foxglove.PointCloud"
INDEX_BITS = 20
REMEMBERED_CLOUDS = 10_000


class Stop(StrEnum):
    """Why a cursor does not go on."""

    COMPLETE = "complete"
    EMPTY = "empty"
    FOREIGN = "foreign"
    UNFINISHED = "unfinished"
    BROKEN = "broken"


def position_of(byte: int, index: int = 0) -> int:
    """Return the position of the `index`-th frame record, from 1, of the chunk at a byte; 0: of the chunk as a whole."""
    return byte << INDEX_BITS | index


class McapCursor:
    """Where the reading of a file is, and what was learnt on the way: schemas, channels, and which chunk has which cloud."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._clouds: OrderedDict[tuple[str, int, int], tuple[int, int]] = OrderedDict()
        self._complete = False
        self.at = 0
        self.stop: Stop | None = None
        self.why = ""

    def learn(self, schemas: dict[int, Schema], channels: dict[int, Channel]) -> None:
        """Take what a summary says of all schemas and channels: parts of the file need not be read for them."""
        self._schemas, self._channels, self._complete = dict(schemas), dict(channels), True

    def has_records_in(self, channel: int) -> bool:
        """Return whether a channel is known to have frame records."""
        found = self._channels.get(channel)
        return found is not None and self._schema_of(found) == RECORD_SCHEMA

    @property
    def informed(self) -> bool:
        """Whether it is known what the file has, from its summary or by reading."""
        return self._complete or self.at > len(MAGIC)

    @property
    def has_records(self) -> bool:
        """Whether a channel of frame records is known."""
        return any(map(self.has_records_in, list(self._channels)))

    def schema_names(self) -> list[str]:
        """Return the names of all schemas known."""
        return sorted({schema.name for schema in list(self._schemas.values())})

    def step(self, file: BinaryIO, size: int, after: int) -> list[LogEntry] | None:
        """Read the next record of a file of `size` bytes and return the entries in it behind a position.

        None where it does not go on; `stop` and `why` tell why, until the file has changed.
        """
        if self.at == 0:
            return self._begin(file, size)
        framed = framed_at(file, self.at, size)
        if framed is None:
            return self._stop(Stop.UNFINISHED, f"it ends at byte {size}, without an end")
        if framed.opcode in (Opcode.DATA_END, Opcode.FOOTER):
            return self._stop(Stop.COMPLETE, "")
        if framed.opcode == 0:
            return self._stop(Stop.BROKEN, f"there is no record at byte {self.at}")
        if framed.end > size:
            there, all_of_it = size - framed.content, framed.end - framed.content
            return self._stop(Stop.UNFINISHED, f"of the {all_of_it} bytes of the record at byte {self.at}, {there} are there")

        found: list[LogEntry] = []
        if framed.opcode == Opcode.CHUNK:
            if not (self._complete and position_of(self.at + 1) <= after):
                found = self.entries_of_chunk(file, framed, self.at)
        elif framed.opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
            try:
                found = self._entries([_parsed(framed.opcode, framed.read(file), framed.end - framed.content)], self.at)
            except (CorruptArtefact, *UNREADABLE) as error:
                return self._stop(Stop.BROKEN, f"the record at byte {self.at} cannot be read: {error}")
        self.at, self.stop, self.why = framed.end, None, ""
        return [entry for entry in found if entry.position > after]

    def entries_of_chunk(self, file: BinaryIO, framed: Framed, at: int) -> list[LogEntry]:
        """Return the entries of a chunk; one that says what is wrong, with the chunk's own position, if it cannot be read."""
        try:
            return self._entries(chunk_records(framed.read(file)), at)
        except CorruptArtefact as error:
            problem = f"the chunk at byte {at} of {self._path.name} cannot be read: {error}"
            return [LogEntry(position_of(at), "", b"", _time(0), problem)]

    def _begin(self, file: BinaryIO, size: int) -> list[LogEntry] | None:
        file.seek(0)
        start = file.read(len(MAGIC))
        if not start:
            return self._stop(Stop.EMPTY, "it has no bytes")
        if not MAGIC.startswith(start):
            return self._stop(Stop.FOREIGN, "it is no MCAP file")
        if len(start) < len(MAGIC):
            return self._stop(Stop.UNFINISHED, f"it ends at byte {size}")
        self.at = len(MAGIC)
        return []

    def _entries(self, records: list[McapRecord], at: int) -> list[LogEntry]:
        found: list[LogEntry] = []
        for record in records:
            match record:
                case Schema():
                    self._schemas[record.id] = record
                case Channel():
                    self._channels[record.id] = record
                case Message():
                    channel = self._channels.get(record.channel_id)
                    if channel is None:
                        raise CorruptArtefact(f"nothing describes the channel {record.channel_id} of its messages")
                    schema = self._schema_of(channel)
                    if schema == CLOUD_SCHEMA:
                        self._remember((channel.topic, record.log_time, record.sequence), (at, channel.id))
                    elif schema == RECORD_SCHEMA:
                        if len(found) + 1 >> INDEX_BITS:
                            raise CorruptArtefact(f"it has more than {len(found)} frame records")
                        found.append(self._entry(record, position_of(at, len(found) + 1)))
        return found

    def _schema_of(self, channel: Channel) -> str:
        schema = self._schemas.get(channel.schema_id)
        return schema.name if schema and channel.message_encoding == "protobuf" else ""

    def _entry(self, message: Message, position: int) -> LogEntry:
        try:
            record = fleet_log_pb2.FrameRecord.FromString(message.data)
        except DecodeError:
            return LogEntry(position, "", message.data, _time(message.log_time))
        if record.cloud_uri.startswith(SCHEME):
            self._locate(record)
        return LogEntry(position, record.frame_id, record.SerializeToString(), _time(message.log_time))

    def _locate(self, record: fleet_log_pb2.FrameRecord) -> None:
        """Say in a record which file the cloud is in, if it is in this one."""
        try:
            reference = McapReference.parse(record.cloud_uri)
        except InvalidArgument:
            return  # whoever asks for the cloud says what is wrong with it
        if reference.path is None:
            key = (reference.topic, reference.time, reference.sequence or 0)
            record.cloud_uri = reference.inside(self._path.resolve(), self._identity, self._clouds.get(key)).uri()

    def _remember(self, cloud: tuple[str, int, int], place: tuple[int, int]) -> None:
        self._clouds[cloud] = place
        if len(self._clouds) > REMEMBERED_CLOUDS:
            self._clouds.popitem(last=False)

    def _stop(self, stop: Stop, why: str) -> list[LogEntry] | None:
        self.stop, self.why = stop, why
        return None


def _parsed(opcode: int, content: BytesIO, length: int) -> McapRecord:
    stream = ReadDataStream(content)
    found: McapRecord
    if opcode == Opcode.MESSAGE:
        found = Message.read(stream, length)
    else:
        found = Schema.read(stream) if opcode == Opcode.SCHEMA else Channel.read(stream)
    return found


def _time(nanoseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)
