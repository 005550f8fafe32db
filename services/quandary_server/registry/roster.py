"""Who serves what: each replica writes its heartbeat, so that a promotion knows when all answer with the new generation."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from quandary.frames import check_identifier
from quandary_server.files import write_atomically
from quandary_server.registry.live import LiveCounts

HEARTBEAT = timedelta(seconds=1)
LOST_AFTER = timedelta(seconds=10)
FORGOTTEN_AFTER = timedelta(minutes=10)


class Heartbeat(BaseModel):
    """One replica of a deployment: the generation it answers with (empty for none), all it holds, and when it said so.

    host, process: where it runs, and as which process there. live: what it has answered of late, by generation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    replica: str
    deployment: str = ""
    generation: str
    resident: tuple[str, ...] = ()
    beaten: AwareDatetime
    problem: str = ""
    host: str = ""
    process: int = 0
    live: tuple[LiveCounts, ...] = ()


@dataclass(frozen=True)
class Roster:
    """Heartbeats below `root`, one file per replica."""

    root: Path

    def beat(self, heartbeat: Heartbeat) -> None:
        """Write a replica's heartbeat over its last one."""
        self.root.mkdir(parents=True, exist_ok=True)
        name = check_identifier("replica", heartbeat.replica)
        write_atomically(self.root / f"{name}.json", heartbeat.model_dump_json().encode(), durable=False)

    def leave(self, replica: str) -> None:
        """Take a replica off."""
        (self.root / f"{check_identifier('replica', replica)}.json").unlink(missing_ok=True)

    def alive(self, now: datetime) -> list[Heartbeat]:
        """Return the replicas heard of within 10 s, by name; those silent for 10 minutes are taken off."""
        heartbeats = []
        for path in sorted(self.root.glob("*.json")):
            try:
                heartbeat = Heartbeat.model_validate_json(path.read_bytes())
            except (FileNotFoundError, ValidationError):
                continue
            if now - heartbeat.beaten > FORGOTTEN_AFTER:
                path.unlink(missing_ok=True)
            elif now - heartbeat.beaten <= LOST_AFTER:
                heartbeats.append(heartbeat)
        return heartbeats
