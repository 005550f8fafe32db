"""Bearer tokens: who calls, and what may they do?"""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from quandary.errors import CorruptArtefact, PermissionDenied, Unauthenticated
from quandary_server.clock import now
from quandary_server.files import write_atomically

log = logging.getLogger(__name__)

SCHEME = "Bearer "


class Role(StrEnum):
    """What a token allows; ADMIN allows everything."""

    FLEET = "fleet"
    LABELLER = "labeller"
    TRAINER = "trainer"
    ADMIN = "admin"


class Token(BaseModel):
    """One entry of the token file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str = Field(min_length=16, repr=False)
    subject: str = Field(min_length=1, max_length=128, description="who it names; the audit records it")
    roles: tuple[Role, ...]
    expires: AwareDatetime | None = None


class TokenFile(BaseModel):
    """The content of the token file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    subject: str
    roles: frozenset[Role]


class Keyring:
    """The tokens of a file, read again whenever it changes: rotation needs no restart.

    While the file is torn or gone, what it last held counts.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path, self._clock = path, clock
        self._stamp: tuple[int, int] | None = None
        self._tokens: dict[bytes, Token] = {}

    def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who the call's metadata names; raises Unauthenticated without a valid token."""
        presented = next((value for key, value in metadata if key == "authorization"), "")
        text = presented.decode("latin-1") if isinstance(presented, bytes) else presented
        if not text.startswith(SCHEME):
            raise Unauthenticated("no bearer token: send the metadata `authorization: Bearer <token>`")
        token = self._current().get(_hash(text.removeprefix(SCHEME)))
        if token is None:
            raise Unauthenticated("the bearer token is not valid")
        if token.expires is not None and token.expires <= self._clock():
            raise Unauthenticated(f"the bearer token of {token.subject} has expired")
        return Caller(token.subject, frozenset(token.roles))

    def _current(self) -> dict[bytes, Token]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            try:
                self._tokens = {_hash(token.token): token for token in read_tokens(self._path)}
            except CorruptArtefact as error:
                if not self._tokens:
                    raise
                log.error("tokens_not_read problem=%s", error)
            self._stamp = stamp
        return self._tokens


def require(caller: Caller, role: Role) -> None:
    """Raise PermissionDenied unless the caller has the role, or is admin."""
    if not caller.roles & {role, Role.ADMIN}:
        has = ", ".join(sorted(caller.roles)) or "none"
        raise PermissionDenied(f"{caller.subject} has the roles {has}; this call needs {role}")


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens of a file; raises CorruptArtefact where it is malformed or cannot be read."""
    try:
        return TokenFile.model_validate_json(path.read_bytes()).tokens
    except OSError as error:
        raise CorruptArtefact(f"{path.name} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "JSON"
        raise CorruptArtefact(f"{path.name} is no valid token file: {where}") from None


def ensure_tokens(path: Path) -> Token:
    """Return the first admin token of the file, as `admin_token` does; makes the file, mode 0600, where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            made = Token(token=secrets.token_urlsafe(32), subject="admin", roles=(Role.ADMIN,))
            write_atomically(path, TokenFile(tokens=(made,)).model_dump_json(indent=1).encode(), mode=0o600)
    return admin_token(path)


def admin_token(path: Path) -> Token:
    """Return the first admin token of a file that has not expired; raises CorruptArtefact where there is none."""
    for token in read_tokens(path):
        if Role.ADMIN in token.roles and (token.expires is None or token.expires > now()):
            return token
    raise CorruptArtefact(f"{path.name} has no valid token with the role admin: the commands and the services need one")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
