"""The directory of generations: models/<generation>/{member-K.onnx, manifest.json}, CURRENT, numbers/, roster/.

Where that is, in a directory or in S3, its port knows (`objects`).
"""

import contextlib
import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from quandary.errors import CorruptArtefact, NotFound, PointerMoved, Unavailable, WrongState
from quandary.frames import check_identifier
from quandary_server.registry.directory_objects import DirectoryObjects
from quandary_server.registry.manifest import GENERATION, Manifest, generation_id, sha256, why_unreadable
from quandary_server.registry.objects import Changed, NoObject, Objects
from quandary_server.registry.pointer import Pointer, advanced, pinning, read, restarted, returned, written
from quandary_server.registry.roster import Roster
from quandary_server.registry.seal import broken, sealed

MODELS, NUMBERS, CURRENT, MANIFEST = "models", "numbers", "CURRENT", "manifest.json"
NO_FILE = ".none"
"""Deleted in a folder without a file, for the folder to go."""
MENDED_BY = "restore it, or promote the generation that answers, which replaces it"
SWAPS = 100
"""Times that the pointer is written anew because somebody has pinned or condemned a generation meanwhile."""

log = logging.getLogger(__name__)

Move = Callable[[Pointer | None], Pointer]


@dataclass(frozen=True)
class Artefacts:
    """A generation as read and verified: its manifest and the ONNX bytes of its members."""

    manifest: Manifest
    members: tuple[bytes, ...]


class Registry:
    """Generations in a directory, made if missing, or wherever `place` keeps them. Several processes may use it at once.

    Every method may raise Unavailable.
    """

    def __init__(self, place: Path | Objects) -> None:
        self.objects = DirectoryObjects(place) if isinstance(place, Path) else place
        self.roster = Roster(self.objects)

    def generations(self) -> list[str]:
        """Return the ids of all registered generations, newest first; those whose manifest is torn are left out and logged."""
        return [name for name in sorted(self.folders(), reverse=True) if self._readable(name)]

    def manifest(self, generation: str) -> Manifest:
        """Return a generation's manifest; raises NotFound, or CorruptArtefact where it is torn, altered or not its own."""
        return self._read_manifest(generation)[0]

    def register(self, members: Mapping[str, bytes], describe: Callable[[int, str, dict[str, str]], Manifest]) -> Manifest:
        """Write a new generation: its manifest last, so that nothing is to be seen of it before. Returns its manifest.

        members: ONNX bytes by file name. describe: makes the manifest of the number, the id and the digests that it got.
        """
        files = {name: sha256(data) for name, data in members.items()}
        number = self._new_number()
        generation = generation_id(number, files)
        manifest = sealed(describe(number, generation, files))
        try:
            for name, data in members.items():
                self.objects.swap(_key(generation, name), data, None)
            self.objects.swap(_key(generation, MANIFEST), manifest.model_dump_json(indent=1).encode(), None)
        except BaseException:
            # what a process leaves that is killed here is swept in its time: see `retention`
            with contextlib.suppress(Unavailable):
                self.erase(generation)
            raise
        return manifest

    def load(self, generation: str, manifest_digest: str | None = None) -> Artefacts:
        """Return a generation's artefacts, every digest checked, as `verified` and `member` do."""
        manifest = self.verified(generation, manifest_digest)
        return Artefacts(manifest, tuple(self.member(manifest, k) for k in range(len(manifest.members))))

    def verified(self, generation: str, manifest_digest: str | None = None) -> Manifest:
        """Return a generation's manifest: of the digest where one is given, with the files that the id was made of.

        Raises NotFound, or CorruptArtefact naming the file.
        """
        return self._verified(generation, manifest_digest)[0]

    def member(self, manifest: Manifest, index: int) -> bytes:
        """Return the ONNX bytes of a member; raises CorruptArtefact where its file is missing or fails its digest."""
        name = manifest.members[index]
        try:
            data = self.objects.read(_key(manifest.generation, name)).data
        except NoObject:
            raise CorruptArtefact(f"{manifest.generation}/{name} is missing") from None
        if sha256(data) != manifest.files.get(name):
            raise CorruptArtefact(f"{manifest.generation}/{name} fails its digest")
        return data

    def pointer(self) -> Pointer | None:
        """Return the pointer, None before the first promotion; raises CorruptArtefact where CURRENT is torn."""
        return self._read_pointer()[0]

    def promote(self, generation: str, expected: Pointer | None, now: datetime, mover: str) -> Pointer:
        """Move the pointer on to a generation, if nobody has moved it since `expected`; else raise PointerMoved.

        Verifies the artefacts. expected: None where there is no pointer, or none that can be read. One that cannot be read is
        replaced: its history is lost, and the revision goes on from the time (see `restarted`).
        """
        digest = self._loadable(generation)
        if expected is None and (torn := self._torn()):
            return self._replace(restarted(generation, digest, now, mover), torn)
        return self._move(expected, lambda pointer: advanced(pointer, generation, digest, now, mover))

    def roll_back(self, expected: Pointer, now: datetime, mover: str, to: str | None = None) -> Pointer:
        """Move the pointer back to the generation before, or to `to`, which must be in its history.

        Raises WrongState where there is nothing to go back to, PointerMoved, NotFound, CorruptArtefact.
        """
        target = to or expected.previous
        if target is None:
            raise WrongState(f"{expected.generation} is the first generation: there is none to roll back to")
        if target not in expected.history[:-1]:
            raise WrongState(f"{target} never was current before {expected.generation}: promote it instead")
        digest = self._loadable(target)
        return self._move(expected, lambda pointer: returned(pointer or expected, target, digest, now, mover), target)

    def pin(self, generation: str, pinned: bool = True) -> Manifest:
        """Keep a generation from being deleted, or let go of it, and return its manifest.

        Raises NotFound, also where its deletion has begun, WrongState where no generation is current, CorruptArtefact.
        """
        manifest = self.manifest(generation)

        def edit(pointer: Pointer) -> Pointer:
            if generation in pointer.condemned:
                raise NotFound(f"generation {generation} is being deleted")
            if pinned:
                self._read_manifest(generation)  # as in `_move`
            return pinning(pointer, generation, pinned)

        self.amend(edit)
        return manifest

    def amend(self, edit: Callable[[Pointer], Pointer]) -> Pointer:
        """Change what the pointer says of other generations than the current one, without moving it; return it.

        Raises WrongState where there is none, and CorruptArtefact.
        """
        for _ in range(SWAPS):
            pointer, version = self._read_pointer()
            if pointer is None:
                raise WrongState("no generation has been promoted yet: until then none is deleted, and none can be pinned")
            amended = edit(pointer)
            if amended == pointer or self._swapped(amended, version):
                return amended
        raise Unavailable("CURRENT is written all the time")

    def erase(self, generation: str) -> None:
        """Delete what there is of a generation, its manifest first: half of it is none."""
        names = [entry.name for entry in self.objects.entries(f"{MODELS}/{generation}")]
        for name in (MANIFEST, *(name for name in names if name != MANIFEST)):
            self.objects.delete(_key(generation, name))

    def clear(self, generation: str, before: datetime) -> None:
        """Delete what a registration left before then that ended before its manifest, and a folder without a file.

        What looks left over may be a registration that has just made its folder: nothing of that is touched.
        """
        entries = self.objects.entries(f"{MODELS}/{generation}")
        old = [entry.name for entry in entries if entry.name != MANIFEST and entry.modified < before]
        for name in old if entries else [NO_FILE]:
            self.objects.delete(_key(generation, name))

    def folders(self) -> list[str]:
        """Names of generations in models/, whatever state they are in; what else lies there is none of ours."""
        return [name for name in self.objects.folders(MODELS) if re.fullmatch(GENERATION, name)]

    def _new_number(self) -> int:
        """Return a number that no generation has had: whoever makes the object of that name has it."""
        number = 1 + self._highest_number()
        claim = json.dumps({"claim": secrets.token_hex(8)}).encode()
        while True:
            try:
                self.objects.swap(f"{NUMBERS}/{number:06d}", claim, None)
            except Changed:
                number += 1
                continue
            # claims are swept once there is a newer generation: this one may have been another's before
            highest = self._highest_number()
            if highest < number:
                return number
            number = highest + 1

    def _highest_number(self) -> int:
        return max((int(name[1:7]) for name in self.folders()), default=0)

    def _move(self, expected: Pointer | None, move: Move, back_to: str = "") -> Pointer:
        for _ in range(SWAPS):
            found, version = self._read_pointer()
            if not (expected.same_move(found) if expected else found is None):
                raise _moved_by(found, expected)
            if found and back_to and back_to not in found.history:
                raise NotFound(f"generation {back_to} is being deleted")
            moved = move(found)
            if moved.generation in moved.condemned:
                raise NotFound(f"generation {moved.generation} is being deleted")
            # after the pointer was read: what was condemned, deleted and forgotten before is gone, and later the swap fails
            self._read_manifest(moved.generation)
            if self._swapped(moved, version):
                return moved
        raise Unavailable("CURRENT is written all the time")

    def _swapped(self, pointer: Pointer, version: str | None) -> bool:
        try:
            self.objects.swap(CURRENT, written(pointer), version)
        except Changed:
            return False
        return True

    def _replace(self, pointer: Pointer, torn: str) -> Pointer:
        if not self._swapped(pointer, torn):
            raise _moved_by(self.pointer(), None)
        return pointer

    def _torn(self) -> str | None:
        """Return the version of a pointer that cannot be read; None where it can, or where there is none."""
        try:
            found = self.objects.read(CURRENT)
            read(found.data)
        except NoObject:
            return None
        except ValidationError:
            log.warning("pointer_replaced problem=CURRENT is torn")
            return found.version
        return None

    def _read_pointer(self) -> tuple[Pointer | None, str | None]:
        try:
            found = self.objects.read(CURRENT)
            return read(found.data), found.version
        except NoObject:
            return None, None
        except ValidationError:
            raise CorruptArtefact(f"CURRENT is torn: {MENDED_BY}") from None

    def _loadable(self, generation: str) -> str:
        """Return the digest of a generation's manifest, all artefacts verified."""
        manifest, digest = self._verified(generation, None)
        for index in range(len(manifest.members)):
            self.member(manifest, index)
        return digest

    def _verified(self, generation: str, manifest_digest: str | None) -> tuple[Manifest, str]:
        manifest, digest = self._read_manifest(generation)
        if manifest_digest is not None and digest != manifest_digest:
            raise CorruptArtefact(f"{generation}/{MANIFEST} has digest {digest[:12]}, promoted was {manifest_digest[:12]}")
        if generation_id(manifest.number, manifest.files) != manifest.generation:
            raise CorruptArtefact(f"{generation}/{MANIFEST} lists other files than its generation was made of")
        return manifest, digest

    def _readable(self, generation: str) -> bool:
        try:
            self._read_manifest(generation)
        except NotFound:
            # being registered, or deleted, or what is left of that
            return False
        except CorruptArtefact as error:
            log.warning("generation_unreadable generation=%s problem=%s", generation, error)
            return False
        return True

    def _read_manifest(self, generation: str) -> tuple[Manifest, str]:
        check_identifier("generation", generation)
        try:
            data = self.objects.read(_key(generation, MANIFEST)).data
        except NoObject:
            raise NotFound(f"generation {generation} is not registered") from None
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            raise CorruptArtefact(f"{generation}/{MANIFEST} {why_unreadable(data, error)}") from None
        if manifest.generation != generation:
            raise CorruptArtefact(f"{generation}/{MANIFEST} is of {manifest.generation}")
        if broken(data):
            raise CorruptArtefact(f"{generation}/{MANIFEST} fails its digest")
        return manifest, sha256(data)


def _key(generation: str, name: str) -> str:
    return f"{MODELS}/{generation}/{name}"


def _moved_by(found: Pointer | None, expected: Pointer | None) -> PointerMoved:
    is_now, by = (found.generation, f": {found.mover} has moved the pointer") if found else ("unset", "")
    was = expected.generation if expected else "unset"
    return PointerMoved(f"the current generation is {is_now}, expected was {was}{by}")
