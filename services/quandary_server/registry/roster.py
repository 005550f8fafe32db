"""Who serves what: each replica writes its heartbeat, so that a promotion knows when all answer with the new generation."""

from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from quandary.frames import check_identifier
from quandary_server.registry.live import LiveCounts
from quandary_server.registry.objects import Entry, NoObject, Objects

LOST_AFTER = timedelta(seconds=10)
FORGOTTEN_AFTER = timedelta(minutes=10)
FOLDER = "roster"


class Heartbeat(BaseModel):
    """One replica of a deployment: the generation it answers with (empty for none), all it holds, and when it said so.

    host, process: where it runs, and as which process there. live: what it has answered of late, by generation. Fields that a
    later version adds are passed over: replicas are upgraded before the trainer, which must not take them for dead.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    replica: str
    deployment: str = ""
    generation: str
    resident: tuple[str, ...] = ()
    beaten: AwareDatetime
    problem: str = ""
    host: str = ""
    process: int = 0
    live: tuple[LiveCounts, ...] = ()

    def alive(self, now: datetime) -> bool:
        """Whether it was heard of within 10 s."""
        return now - self.beaten <= LOST_AFTER


class Roster:
    """Heartbeats, one small object for each replica."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        # by name, with the version that it was read of: a listing tells what need not be read again
        self._read: dict[str, tuple[str, Heartbeat]] = {}

    @property
    def every(self) -> timedelta:
        """How often a replica is to beat: what writing costs decides."""
        return self._objects.heartbeat

    def beat(self, heartbeat: Heartbeat) -> None:
        """Write a replica's heartbeat over its last one."""
        self._objects.write(_key(heartbeat.replica), heartbeat.model_dump_json().encode())

    def leave(self, replica: str) -> None:
        """Take a replica off."""
        self._objects.delete(_key(replica))

    def alive(self, now: datetime) -> list[Heartbeat]:
        """Return the replicas heard of within 10 s, by name; those silent for 10 minutes are taken off."""
        return [heartbeat for heartbeat in self.known(now) if heartbeat.alive(now)]

    def known(self, now: datetime) -> list[Heartbeat]:
        """Return the replicas heard of within 10 minutes, by name: a silent one may answer still. The others are taken off."""
        entries = [entry for entry in self._objects.entries(FOLDER) if _is_heartbeat(entry)]
        known = {}
        for entry in entries:
            heartbeat = self._heartbeat(entry)
            if heartbeat is None:
                continue
            if now - heartbeat.beaten > FORGOTTEN_AFTER:
                self._objects.delete(f"{FOLDER}/{entry.name}")
            else:
                known[entry.name] = (entry.version, heartbeat)
        self._read = known
        return [heartbeat for _, heartbeat in known.values()]

    def _heartbeat(self, entry: Entry) -> Heartbeat | None:
        version, heartbeat = self._read.get(entry.name, ("", None))
        if heartbeat is not None and entry.version and entry.version == version:
            return heartbeat
        try:
            return Heartbeat.model_validate_json(self._objects.read(f"{FOLDER}/{entry.name}").data)
        except (NoObject, ValidationError):
            return None


def _key(replica: str) -> str:
    return f"{FOLDER}/{check_identifier('replica', replica)}.json"


def _is_heartbeat(entry: Entry) -> bool:
    return entry.name.endswith(".json") and not entry.name.startswith(".")
