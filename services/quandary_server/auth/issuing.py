"""Making, rotating and revoking tokens. Services read the file again when it changes, so that all of it holds at once.

Beside `tokens.json`, which keeps hashes, stands `admin.token`, mode 0600, with the one token that is kept in the clear: that of
the commands and services of this data directory.
"""

import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock

from quandary.errors import CorruptArtefact, NotFound, WrongState
from quandary_server.auth.callers import Role
from quandary_server.auth.tokens import Token, TokenFile, new_token, read_tokens
from quandary_server.clock import now
from quandary_server.files import write_atomically

ADMIN = "admin"
OWNER_ONLY = 0o600
# a group is let be: Kubernetes gives a pod's volume to the pod's group
OTHERS = 0o007

KEPT = timedelta(days=30)
"""How long an expired token is still listed, and its callers told that it has expired."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token just made: its entry, and the token itself, which nobody can tell again."""

    record: Token
    token: str = field(repr=False)


def ensure_tokens(path: Path) -> str:
    """Return the token of this data directory; makes it, and both files, where there is none that is valid.

    Raises CorruptArtefact for a malformed file, and for a token that others may read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        time, tokens = now(), _tokens(path)
        token = admin_token(path) if admin_file(path).exists() else ""
        if any(entry.is_of(token) and not entry.has_expired(time) for entry in tokens):
            return token
        issued = Issued(*new_token(ADMIN, (Role.ADMIN,), time, None))
        _write(path, (*tokens, issued.record), time)
        _keep(path, issued)
        return issued.token


def admin_token(path: Path) -> str:
    """Return the token of a data directory, by its token file.

    Raises CorruptArtefact where it cannot be read, and where others can.
    """
    file = admin_file(path)
    try:
        mode, token = stat.S_IMODE(file.stat().st_mode), file.read_text().strip()
    except OSError as error:
        raise CorruptArtefact(f"{file.name} cannot be read: {error.strerror}; a service that starts makes one") from error
    if mode & OTHERS:
        raise CorruptArtefact(f"{file.name} has the mode {mode:04o}, must be 0600: others may have read it, rotate it")
    return token


def admin_file(path: Path) -> Path:
    """Return where the token of a data directory is kept, by its token file."""
    return path.with_name("admin.token")


def issue_token(path: Path, subject: str, roles: Sequence[Role], *, time: datetime, lifetime: timedelta | None) -> Issued:
    """Make a token; lifetime: None is for good. Raises pydantic's ValidationError for a bad subject or no role."""
    issued = Issued(*new_token(subject, tuple(dict.fromkeys(roles)), time, time + lifetime if lifetime else None))
    with _locked(path):
        _write(path, (*_tokens(path), issued.record), time)
    return issued


def rotate_token(path: Path, token_id: str, *, time: datetime, overlap: timedelta) -> Issued:
    """Make the successor of a token, for the same subject, roles and lifetime; the old one is valid for `overlap` yet.

    Where it is the token of this data directory, the successor takes its place there. Raises NotFound.
    """
    with _locked(path):
        tokens = _tokens(path)
        old = _entry(tokens, token_id)
        lifetime = old.expires - old.created if old.expires else None
        issued = Issued(*new_token(old.subject, old.roles, time, time + lifetime if lifetime else None))
        end = time + overlap if old.expires is None else min(old.expires, time + overlap)
        retired = old.model_copy(update={"expires": end})
        own = _is_own(path, old)
        _write(path, (*(retired if entry is old else entry for entry in tokens), issued.record), time)
        if own:
            _keep(path, issued)
    return issued


def revoke_token(path: Path, token_id: str, *, time: datetime) -> Token:
    """Drop a token; it is refused from now on. Raises NotFound, and WrongState for the token of this data directory."""
    with _locked(path):
        tokens = _tokens(path)
        old = _entry(tokens, token_id)
        if _is_own(path, old):
            raise WrongState(
                f"the commands and services of this data directory use the token {token_id}: rotate it with an overlap of 0"
            )
        _write(path, (entry for entry in tokens if entry is not old), time)
    return old


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def _tokens(path: Path) -> tuple[Token, ...]:
    return read_tokens(path) if path.exists() else ()


def _entry(tokens: Iterable[Token], token_id: str) -> Token:
    for entry in tokens:
        if entry.id == token_id:
            return entry
    raise NotFound(f"no token has the id {token_id}")


def _is_own(path: Path, entry: Token) -> bool:
    return admin_file(path).exists() and entry.is_of(admin_token(path))


def _write(path: Path, tokens: Iterable[Token], time: datetime) -> None:
    kept = [entry for entry in tokens if not entry.has_expired(time - KEPT)]
    write_atomically(path, TokenFile(tokens=tuple(kept)).model_dump_json(indent=1).encode(), mode=OWNER_ONLY)


def _keep(path: Path, issued: Issued) -> None:
    write_atomically(admin_file(path), f"{issued.token}\n".encode(), mode=OWNER_ONLY)
