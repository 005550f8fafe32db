"""MCAP files (mcap.dev/spec), record by record: what lies where, and which file it is."""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Chunk, McapRecord
from mcap.stream_reader import CRCValidationError, breakup_chunk
from mcap.summary import Summary

from quandary.errors import CorruptArtefact

__all__ = [
    "DATA_END_BYTES",
    "HEAD_BYTES",
    "MAGIC",
    "Framed",
    "chunk_records",
    "data_end_at",
    "framed_at",
    "identity_of",
    "is_known",
    "spans_its_content",
    "summary_of",
]

MAGIC = b"\x89MCAP0\r\n"
HEAD_BYTES = 9
"""Of a record: opcode and length."""
DATA_END_BYTES = HEAD_BYTES + 4
FOOTER_BYTES = HEAD_BYTES + 20
CHUNK_HEAD_BYTES = 40
"""Of a chunk: all but the name of the compression and the data."""
IDENTITY_BYTES = 2**16
TELLING_BYTES = 64
"""Of a message or chunk: its head with its times and, of a chunk, its size and CRC. No two of a fleet have them
alike."""
MAX_RECORD_BYTES = 2**30

UNREADABLE = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    RuntimeError,  # lz4's
    struct.error,
    ValueError,
    MemoryError,
    OverflowError,
)
"""What the libraries raise for bytes that are not what they should be."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A record of a file: its opcode, where its content begins, and where the next record does."""

    opcode: int
    content: int
    end: int

    def read(self, file: BinaryIO) -> BytesIO:
        """Return the content; of what is larger than anything that is read, the start."""
        file.seek(self.content)
        return BytesIO(file.read(min(self.end - self.content, MAX_RECORD_BYTES)))


def framed_at(file: BinaryIO, at: int, size: int) -> Framed | None:
    """Return the record that begins at a byte; None where the file of `size` bytes ends before it begins.

    Its end may lie beyond the file's: then it is not all there.
    """
    if at + HEAD_BYTES > size:
        return None
    file.seek(at)
    head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:  # it has shrunk since somebody asked for its size
        return None
    opcode, length = struct.unpack("<BQ", head)
    return Framed(opcode, at + HEAD_BYTES, at + HEAD_BYTES + length)


def spans_its_content(framed: Framed, content: BytesIO) -> bool:
    """Return whether the length of a chunk's record is that of what it says it has: where the next record is can be trusted."""
    try:
        compression: int = struct.unpack_from("<I", content.getbuffer(), 28)[0]
        data: int = struct.unpack_from("<Q", content.getbuffer(), 32 + compression)[0]
    except struct.error:
        return False
    return framed.end - framed.content == CHUNK_HEAD_BYTES + compression + data


def is_known(opcode: int) -> bool:
    """Return whether there are records of an opcode: of the specification, or private ones."""
    return opcode in set(Opcode) or opcode >= 0x80


def chunk_records(content: BytesIO) -> list[McapRecord]:
    """Return the schemas, channels and messages of a chunk. Raises CorruptArtefact with what is wrong with it."""
    try:
        chunk = Chunk.read(ReadDataStream(content))
        if chunk.uncompressed_size > MAX_RECORD_BYTES:
            raise CorruptArtefact(f"it would have {chunk.uncompressed_size} bytes, at most {MAX_RECORD_BYTES} are read")
        return breakup_chunk(chunk, validate_crc=True)
    except UNREADABLE as error:
        raise CorruptArtefact(str(error) or type(error).__name__) from error


def identity_of(file: BinaryIO, size: int) -> str | None:
    """Return what a file is known by wherever it lies; None while it has too little for that.

    It is a digest of its bytes up to the end of its first message or chunk with messages, 64 KiB at most, and of what tells
    that one from others where it begins later: files of one vehicle may begin with the same long attachment. They are there
    once the file has its first message and stay the same however much it grows: a chunk begins with its times, size and CRC.
    """
    at = len(MAGIC)
    file.seek(0)
    if file.read(at) != MAGIC:
        return None
    chunks = False
    while (framed := framed_at(file, at, size)) is not None and framed.opcode != 0:
        chunk, ends = framed.opcode == Opcode.CHUNK, framed.opcode in (Opcode.DATA_END, Opcode.FOOTER)
        if ends and not chunks:
            return None
        if ends or _has_messages(file, framed) or (chunk and framed.end >= IDENTITY_BYTES):
            return _beginning(file, size, min(framed.end, IDENTITY_BYTES), at, min(framed.end, at + TELLING_BYTES))
        if framed.end > size:  # it is still to come; or its length is damaged, and what lies behind it may be read all the same
            return _beginning(file, size, IDENTITY_BYTES, 0, 0) if framed.end >= IDENTITY_BYTES else None
        chunks |= chunk
        at = framed.end
    return None


def _beginning(file: BinaryIO, size: int, end: int, telling: int, told: int) -> str | None:
    """Return a digest of the bytes up to `end` and, if they go on behind it, of those from `telling` to `told`."""
    if max(end, told) > size:
        return None
    file.seek(0)
    digest = hashlib.blake2b(file.read(end), digest_size=16)
    if told > end:
        file.seek(telling)
        digest.update(file.read(told - telling))
    return digest.hexdigest()


def _has_messages(file: BinaryIO, framed: Framed) -> bool:
    """Return whether a record is a message, or a chunk that has the times of some."""
    if framed.opcode != Opcode.CHUNK:
        return framed.opcode == Opcode.MESSAGE
    file.seek(framed.content)
    return any(file.read(16))


def data_end_at(file: BinaryIO, size: int) -> int | None:
    """Return where the data of a finished file end; None for a file that is not finished."""
    footer = size - len(MAGIC) - FOOTER_BYTES
    if footer < len(MAGIC):
        return None
    file.seek(footer)
    tail = file.read(FOOTER_BYTES + len(MAGIC))
    if len(tail) < FOOTER_BYTES + len(MAGIC) or tail[0] != Opcode.FOOTER or tail[FOOTER_BYTES:] != MAGIC:
        return None
    summary_start: int = struct.unpack_from("<Q", tail, HEAD_BYTES)[0]
    at = (summary_start or footer) - DATA_END_BYTES
    framed = framed_at(file, at, size) if at >= len(MAGIC) else None
    return at if framed is not None and framed.opcode == Opcode.DATA_END else None


def summary_of(file: BinaryIO) -> Summary | None:
    """Return the summary of a finished file; None where there is none, or it cannot be read or fails its CRC."""
    file.seek(0)
    try:
        return make_reader(file).get_summary() if _summary_is_sound(file) else None
    except (*UNREADABLE, OSError, KeyError):
        return None


def _summary_is_sound(file: BinaryIO) -> bool:
    footer = file.seek(-len(MAGIC) - FOOTER_BYTES, 2)
    start, _, crc = struct.unpack_from("<QQI", file.read(FOOTER_BYTES), HEAD_BYTES)
    file.seek(start)
    checked = zlib.crc32(file.read(footer + FOOTER_BYTES - 4 - start)) if start else 0
    file.seek(0)
    return crc in (0, checked)
