"""Reads the frame records of an MCAP file forward, and goes on where it stopped when the file has grown."""

from bisect import bisect_right
from collections import OrderedDict
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, McapRecord, Message, Schema
from mcap.summary import Summary

from quandary.errors import CorruptArtefact, InvalidArgument
from quandary.v1 import fleet_log_pb2
from quandary_server.storage.frame_log import LogEntry, time_of
from quandary_server.storage.mcap_records import (
    MAGIC,
    UNREADABLE,
    Framed,
    chunk_records,
    framed_at,
    is_known,
    spans_its_content,
)
from quandary_server.storage.mcap_reference import SCHEME, McapReference

__all__ = ["CLOUD_SCHEMA", "INDEX_BITS", "RECORD_SCHEMA", "McapCursor", "Stop", "position_of"]

RECORD_SCHEMA = "quandary.v1.FrameRecord"
CLOUD_SCHEMA = "foxglove.PointCloud"
INDEX_BITS = 20
REMEMBERED_CLOUDS = 10_000
ENDS: dict[int, int] = {Opcode.DATA_END: 4, Opcode.FOOTER: 20}
"""Records behind which there are no data, and how long they are."""


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
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Channel] = {}
        self._clouds: OrderedDict[tuple[str, int, int], tuple[int, int]] = OrderedDict()
        self._chunks: dict[int, int] = {}
        self._marks: list[int] = []
        self._complete = False
        self._sure = 0
        self.at = 0
        self.stop: Stop | None = None
        self.why = ""

    def learn(self, summary: Summary, data_end: int) -> None:
        """Take what a summary says: parts of the file need not be read for its schemas and channels, and what is damaged
        does not hide where the next chunk is.
        """
        self._schemas = {schema.id: schema.name for schema in summary.schemas.values()}
        self._channels, self._complete = dict(summary.channels), True
        self._chunks = {index.chunk_start_offset: index.chunk_length for index in summary.chunk_indexes}
        self._marks = [*sorted(self._chunks), data_end] if self._chunks else []

    def look_again(self) -> None:
        """Go on, since the file has changed: behind the last record whose place was sure."""
        self.at, self.stop = self._sure, None

    def complete(self) -> None:
        """Stop for good, all being applied, and forget what a directory of many such files had no room for."""
        self.stop = Stop.COMPLETE
        self._clouds.clear()
        self._chunks, self._marks = {}, []

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
        return sorted(set(self._schemas.values()))

    def step(self, file: BinaryIO, size: int, after: int) -> list[LogEntry] | None:
        """Read the next record of a file of `size` bytes and return the entries in it behind a position.

        None where it does not go on; `stop` and `why` tell why, until the file has changed.
        """
        if self.at == 0:
            return self._begin(file, size)
        framed = framed_at(file, self.at, size)
        if framed is None:
            return self._stop(Stop.UNFINISHED, f"it ends at byte {size}, without an end")
        if self._marks and (passed := self._by_index(framed)) is not None:
            return [entry for entry in passed if entry.position > after]
        if framed.end - framed.content == ENDS.get(framed.opcode):
            return self._stop(Stop.COMPLETE, "")
        if not is_known(framed.opcode) or framed.opcode in ENDS:
            return self._stop(Stop.BROKEN, f"there is no record at byte {self.at}")
        if framed.end > size:
            there, all_of_it = size - framed.content, framed.end - framed.content
            return self._stop(Stop.UNFINISHED, f"of the {all_of_it} bytes of the record at byte {self.at}, {there} are there")
        return self._read(file, framed, after)

    def _by_index(self, framed: Framed) -> list[LogEntry] | None:
        """Go on by the index of the file where a record is not what that says; None where it is."""
        length = self._chunks.get(self.at)
        if length is not None:
            if framed.opcode == Opcode.CHUNK and framed.end == self.at + length:
                return None
            passed, self.at = self._passed(self.at, "its head is damaged"), self.at + length
            return [passed]
        following = bisect_right(self._marks, self.at)
        if following == len(self._marks):
            return None
        between = is_known(framed.opcode) and framed.opcode not in ENDS
        if between and framed.end <= self._marks[following]:
            return None
        self.at = self._marks[following]
        return []

    def _read(self, file: BinaryIO, framed: Framed, after: int) -> list[LogEntry] | None:
        """Read a record that is all there, and go on behind it."""
        found: list[LogEntry] = []
        if framed.opcode == Opcode.CHUNK:
            if not (self._complete and position_of(self.at + 1) <= after):
                content = framed.read(file)
                if not self._chunks and not spans_its_content(framed, content):
                    return self._stop(Stop.BROKEN, f"the chunk at byte {self.at} is not as long as it says")
                found = self.entries_of_chunk(content, self.at)
            self._sure = framed.end
        elif framed.opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
            try:
                found = self._entries([_parsed(framed.opcode, framed.read(file), framed.end - framed.content)], self.at)
            except (CorruptArtefact, *UNREADABLE) as error:
                return self._stop(Stop.BROKEN, f"the record at byte {self.at} cannot be read: {error}")
            self._sure = framed.end
        self.at, self.stop, self.why = framed.end, None, ""
        return [entry for entry in found if entry.position > after]

    def entries_of_chunk(self, content: BytesIO, at: int) -> list[LogEntry]:
        """Return the entries of a chunk; one that says what is wrong, with the chunk's own position, if it cannot be read."""
        try:
            return self._entries(chunk_records(content), at)
        except CorruptArtefact as error:
            return [self._passed(at, str(error))]

    def _passed(self, at: int, why: str) -> LogEntry:
        problem = f"the chunk at byte {at} of {self._path.name} cannot be read: {why}"
        return LogEntry(position_of(at), "", b"", time_of(0), problem)

    def _begin(self, file: BinaryIO, size: int) -> list[LogEntry] | None:
        file.seek(0)
        start = file.read(len(MAGIC))
        if not start:
            return self._stop(Stop.EMPTY, "it has no bytes")
        if not MAGIC.startswith(start):
            return self._stop(Stop.FOREIGN, "it is no MCAP file")
        if len(start) < len(MAGIC):
            return self._stop(Stop.UNFINISHED, f"it ends at byte {size}")
        self.at = self._sure = len(MAGIC)
        return []

    def _entries(self, records: list[McapRecord], at: int) -> list[LogEntry]:
        found: list[LogEntry] = []
        for record in records:
            match record:
                case Schema():
                    self._schemas[record.id] = record.name
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
        return self._schemas.get(channel.schema_id, "") if channel.message_encoding == "protobuf" else ""

    def _entry(self, message: Message, position: int) -> LogEntry:
        try:
            record = fleet_log_pb2.FrameRecord.FromString(message.data)
        except DecodeError:
            return LogEntry(position, "", message.data, time_of(message.log_time))
        if record.cloud_uri.startswith(SCHEME):
            self._locate(record)
        return LogEntry(position, record.frame_id, record.SerializeToString(), time_of(message.log_time))

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
