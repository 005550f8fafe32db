"""Settings of what holds the fleet log. No library of any of them here: all services read them."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class LogKind(StrEnum):
    """What holds the fleet log."""

    SQLITE = "sqlite"
    MCAP = "mcap"
    KAFKA = "kafka"


class McapCompression(StrEnum):
    """How the chunks of published MCAP files are compressed."""

    LZ4 = "lz4"
    ZSTD = "zstd"


class McapSettings(BaseModel):
    """A directory of MCAP files as the fleet log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path | None = Field(default=None, description="watched with all below it; None: <data>/<log>.mcap")
    settle: timedelta = Field(
        default=timedelta(minutes=1), gt=timedelta(), description="an unfinished file untouched for that long is truncated"
    )
    compression: McapCompression = Field(default=McapCompression.LZ4, description="of what is published")
    rotate_bytes: int = Field(default=1 << 30, ge=1 << 10, description="bytes after which the next file is begun")


class KafkaSettings(BaseModel):
    """A Kafka topic as the fleet log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    servers: str = Field(default="", description="host:port of brokers, separated by commas")
    topic: str = Field(default="quandary.frames", min_length=1, description="topic of the frame records")
    dead_letter_topic: str = Field(default="", description="where rejected records go; empty: <topic>.dead-letter")
    buffer: int = Field(default=1000, ge=1, description="records of a partition in memory, beyond which it is paused")
    options: dict[str, str] = Field(default_factory=dict, description="further properties of librdkafka, for all clients")
    consumer_options: dict[str, str] = Field(default_factory=dict, description="further properties of the group's consumer")
    options_file: Path | None = Field(
        default=None, description="file of further properties, name=value a line: secrets, which settings would show"
    )

    @property
    def dead_letters(self) -> str:
        """Topic of the dead letters."""
        return self.dead_letter_topic or f"{self.topic}.dead-letter"
