"""Tokens as they are kept: an id, whom they name, what they allow, and the hash of what is sent."""

import hashlib
import hmac
import secrets
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from quandary.errors import CorruptArtefact
from quandary_server.auth.callers import Role

PREFIX = "quandary"
"""Every token begins with it: a scanner for leaked secrets can know one."""

ID_BYTES = 5
SECRET_BYTES = 32
SUBJECT = r"[A-Za-z0-9][A-Za-z0-9@._:/+-]{0,127}"


class Token(BaseModel):
    """One entry of the token file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=rf"^[0-9a-f]{{{2 * ID_BYTES}}}$", description="names the token, in the token itself too")
    # of 256 random bits: nobody can guess what a plain, fast hash came from
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False, description="SHA-256 of the token")
    subject: str = Field(pattern=rf"^{SUBJECT}$", description="who it names; the audit records it")
    roles: tuple[Role, ...] = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime | None = None

    def has_expired(self, now: datetime) -> bool:
        """Return whether it is no longer valid."""
        return self.expires is not None and self.expires <= now

    def is_of(self, text: str) -> bool:
        """Return whether this entry is that of what was sent, in a time that tells nothing of how much of it is right."""
        return hmac.compare_digest(self.sha256, _digest(text))


class TokenFile(BaseModel):
    """The content of the token file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[Token, ...]

    @model_validator(mode="after")
    def _ids_apart(self) -> "TokenFile":
        if len({token.id for token in self.tokens}) < len(self.tokens):
            raise ValueError("two tokens have one id")
        return self


def new_token(subject: str, roles: tuple[Role, ...], created: datetime, expires: datetime | None) -> tuple[Token, str]:
    """Return a new entry and the token that it stands for, which is kept nowhere; raises ValidationError for a bad subject."""
    token_id = secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}_{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return Token(id=token_id, sha256=_digest(text), subject=subject, roles=roles, created=created, expires=expires), text


def token_id(text: str) -> str:
    """Return the id that a token tells, nothing where it tells none."""
    prefix, _, rest = text.partition("_")
    return rest.partition("_")[0] if prefix == PREFIX else ""


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the entries of a file; raises CorruptArtefact where it is malformed or cannot be read."""
    try:
        return TokenFile.model_validate_json(path.read_bytes()).tokens
    except OSError as error:
        raise CorruptArtefact(f"{path.name} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "JSON"
        raise CorruptArtefact(f"{path.name} is no valid token file: {where}; `quandary token` writes it") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
