"""The keyring: from what a call carries to who calls."""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from quandary.errors import CorruptArtefact, Unauthenticated
from quandary_server.auth.callers import Caller, Role
from quandary_server.auth.tokens import Token, read_tokens, token_id

log = logging.getLogger(__name__)

SCHEME = "bearer "

NOBODY = Token(id="0" * 10, sha256="0" * 64, subject="nobody", roles=(Role.FLEET,), created=datetime.min.replace(tzinfo=UTC))
"""What an unknown id is compared with, so that it takes as long as a known one; of this hash nobody knows a token."""


class Keyring:
    """The tokens of a file, read again whenever it changes: rotation needs no restart.

    While the file is torn or gone, what it last held counts.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path, self._clock = path, clock
        self._stamp: tuple[int, ...] = ()
        self._tokens: dict[str, Token] = {}

    def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who the call's metadata names; raises Unauthenticated without a valid token."""
        presented = next((value for key, value in metadata if key == "authorization"), "")
        text = presented.decode("latin-1") if isinstance(presented, bytes) else presented
        if text[: len(SCHEME)].lower() != SCHEME:
            raise Unauthenticated("no bearer token: send the metadata `authorization: Bearer <token>`")
        text = text[len(SCHEME) :]
        token = self._current().get(token_id(text), NOBODY)
        if not token.is_of(text):
            raise Unauthenticated("the bearer token is not valid")
        if token.has_expired(self._clock()):
            raise Unauthenticated(f"the bearer token {token.id} of {token.subject} has expired")
        return Caller(token.subject, frozenset(token.roles))

    def subjects(self, role: Role) -> frozenset[str]:
        """Return whom the valid tokens with the role name."""
        now = self._clock()
        return frozenset(t.subject for t in self._current().values() if role in t.roles and not t.has_expired(now))

    def _current(self) -> dict[str, Token]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            try:
                self._tokens = {token.id: token for token in read_tokens(self._path)}
            except CorruptArtefact as error:
                if not self._tokens:
                    raise
                log.error("tokens_not_read problem=%s", error)
            self._stamp = stamp
        return self._tokens


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return (0,)
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
