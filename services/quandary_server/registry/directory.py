"""The registry in a local directory: models/<generation>/{manifest.json, member-K.onnx}, CURRENT, roster/."""

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from quandary.errors import CorruptArtefact, NotFound, PointerMoved, WrongState
from quandary.frames import check_identifier
from quandary_server.files import sync_directory, write_atomically
from quandary_server.registry.manifest import GENERATION, Manifest, generation_id, sha256
from quandary_server.registry.pointer import Pointer, advanced, restarted, returned
from quandary_server.registry.roster import Roster

MANIFEST = "manifest.json"
STAGING = ".staging-"
UNREADABLE = "CURRENT.unreadable"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artefacts:
    """A generation as read and verified: its manifest and the ONNX bytes of its members."""

    manifest: Manifest
    members: tuple[bytes, ...]


class Registry:
    """Generations below `root`, made if missing. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self._models = root / "models"
        self._current = root / "CURRENT"
        self._models.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / ".lock")
        self.roster = Roster(root / "roster")

    def generations(self) -> list[str]:
        """Return the ids of all registered generations, newest first; those whose manifest is torn are left out and logged."""
        return [name for name in sorted(self._folders(), reverse=True) if self._readable(name)]

    def manifest(self, generation: str) -> Manifest:
        """Return a generation's manifest; raises NotFound, or CorruptArtefact where it is torn or not its own."""
        return self._read_manifest(generation)[0]

    def register(self, members: Mapping[str, bytes], describe: Callable[[int, str, dict[str, str]], Manifest]) -> Manifest:
        """Write a new generation: all of it or nothing. Returns its manifest.

        members: ONNX bytes by file name. describe: makes the manifest of the number, the id and the digests that it got.
        """
        files = {name: sha256(data) for name, data in members.items()}
        with self._lock:
            for abandoned in self._models.glob(f"{STAGING}*"):
                shutil.rmtree(abandoned)
            number = 1 + max((int(name[1:7]) for name in self._folders()), default=0)
            manifest = describe(number, generation_id(number, files), files)
            staging = Path(tempfile.mkdtemp(dir=self._models, prefix=STAGING))
            try:
                for name, data in members.items():
                    write_atomically(staging / name, data)
                write_atomically(staging / MANIFEST, manifest.model_dump_json(indent=1).encode())
                staging.chmod(0o755)
                staging.rename(self._models / manifest.generation)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        sync_directory(self._models)
        return manifest

    def load(self, generation: str, manifest_digest: str | None = None) -> Artefacts:
        """Return a generation's artefacts, every digest checked, as `verified` and `member` do."""
        manifest = self.verified(generation, manifest_digest)
        return Artefacts(manifest, tuple(self.member(manifest, k) for k in range(len(manifest.members))))

    def verified(self, generation: str, manifest_digest: str | None = None) -> Manifest:
        """Return a generation's manifest: of the digest where one is given, with the files that the id was made of.

        Raises NotFound, or CorruptArtefact naming the file.
        """
        manifest, digest = self._read_manifest(generation)
        if manifest_digest is not None and digest != manifest_digest:
            raise CorruptArtefact(f"{generation}/{MANIFEST} has digest {digest[:12]}, promoted was {manifest_digest[:12]}")
        if generation_id(manifest.number, manifest.files) != manifest.generation:
            raise CorruptArtefact(f"{generation}/{MANIFEST} lists other files than its generation was made of")
        return manifest

    def member(self, manifest: Manifest, index: int) -> bytes:
        """Return the ONNX bytes of a member; raises CorruptArtefact where its file is missing or fails its digest."""
        name = manifest.members[index]
        try:
            data = (self._models / manifest.generation / name).read_bytes()
        except FileNotFoundError:
            raise CorruptArtefact(f"{manifest.generation}/{name} is missing") from None
        if sha256(data) != manifest.files.get(name):
            raise CorruptArtefact(f"{manifest.generation}/{name} fails its digest")
        return data

    def pointer(self) -> Pointer | None:
        """Return the pointer, None before the first promotion; raises CorruptArtefact where CURRENT is torn."""
        try:
            return Pointer.model_validate_json(self._current.read_bytes())
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise CorruptArtefact("CURRENT is a folder: it is no valid pointer") from None
        except ValidationError:
            raise CorruptArtefact("CURRENT is torn: it is no valid pointer") from None

    def promote(self, generation: str, expected: Pointer | None, now: datetime, mover: str) -> Pointer:
        """Move the pointer on to a generation, if it still is `expected`; else raise PointerMoved. Verifies the artefacts.

        expected: None where there is no pointer, or none that can be read. One that cannot be read is replaced: its history is
        lost, and the revision goes on from the time (see `restarted`).
        """
        digest = self._digest(self.load(generation).manifest)
        with self._lock:
            if expected is None and self._torn():
                return self._replace(restarted(generation, digest, now, mover))
            return self._swap(expected, lambda p: advanced(p, generation, digest, now, mover))

    def roll_back(self, expected: Pointer, now: datetime, mover: str, to: str | None = None) -> Pointer:
        """Move the pointer back to the generation before, or to `to`, which must be in its history.

        Raises WrongState where there is nothing to go back to, PointerMoved, NotFound, CorruptArtefact.
        """
        target = to or expected.previous
        if target is None:
            raise WrongState(f"{expected.generation} is the first generation: there is none to roll back to")
        if target not in expected.history[:-1]:
            raise WrongState(f"{target} never was current before {expected.generation}: promote it instead")
        artefacts = self.load(target)
        return self._swap(expected, lambda p: returned(p or expected, target, self._digest(artefacts.manifest), now, mover))

    def _swap(self, expected: Pointer | None, move: Callable[[Pointer | None], Pointer]) -> Pointer:
        with self._lock:
            found = self.pointer()
            if found != expected:
                is_now = found.generation if found else "unset"
                was = expected.generation if expected else "unset"
                raise PointerMoved(f"the current generation is {is_now}, expected was {was}")
            return self._replace(move(found))

    def _replace(self, moved: Pointer) -> Pointer:
        if self._current.is_dir():
            self._current.rename(self._current.with_name(f"{UNREADABLE}-{moved.revision}"))
        write_atomically(self._current, moved.model_dump_json(indent=1).encode())
        return moved

    def _torn(self) -> bool:
        try:
            self.pointer()
        except CorruptArtefact as error:
            log.warning("pointer_replaced problem=%s", error)
            return True
        return False

    def _folders(self) -> list[str]:
        """Names of generations in models/, whatever state they are in; what else lies there is none of ours."""
        return [path.name for path in self._models.iterdir() if re.fullmatch(GENERATION, path.name)]

    def _readable(self, generation: str) -> bool:
        try:
            self._read_manifest(generation)
        except (NotFound, CorruptArtefact) as error:
            log.warning("generation_unreadable generation=%s problem=%s", generation, error)
            return False
        return True

    def _read_manifest(self, generation: str) -> tuple[Manifest, str]:
        check_identifier("generation", generation)
        try:
            data = (self._models / generation / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"generation {generation} is not registered") from None
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "JSON"
            raise CorruptArtefact(f"{generation}/{MANIFEST} is no valid manifest: {where}") from None
        if manifest.generation != generation:
            raise CorruptArtefact(f"{generation}/{MANIFEST} is of {manifest.generation}")
        return manifest, sha256(data)

    def _digest(self, manifest: Manifest) -> str:
        return self._read_manifest(manifest.generation)[1]
