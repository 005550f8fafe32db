"""The bearer token that the selector shows to scoring."""

from pathlib import Path

from quandary.errors import CorruptArtefact
from quandary_server.auth import admin_file, admin_token
from quandary_server.settings import Settings

__all__ = ["ScoringToken"]


class ScoringToken:
    """Called for every call, for tokens are changed without a restart: its file is read again whenever it has changed."""

    def __init__(self, settings: Settings) -> None:
        self._file, self._tokens = settings.selector.scoring_token_file, settings.tokens
        self._stamp: tuple[int, ...] = ()
        self._token = ""

    def __call__(self) -> str:
        """Return the token as it is now. Raises CorruptArtefact where it cannot be read, or others can read the admin's."""
        stamp = _stamp(self._file or admin_file(self._tokens))
        if not stamp or stamp != self._stamp:
            self._token, self._stamp = self._read(), stamp
        return self._token

    def _read(self) -> str:
        if self._file is None:
            return admin_token(self._tokens)
        try:
            return self._file.read_text().strip()
        except OSError as error:
            raise CorruptArtefact(f"{self._file} cannot be read: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what tells that a file, or who may read it, has changed; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
