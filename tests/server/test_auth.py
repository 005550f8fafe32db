import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quandary.errors import CorruptArtefact, PermissionDenied, Unauthenticated
from quandary_server.auth import Caller, Keyring, Role, Token, TokenFile, admin_token, ensure_tokens, read_tokens, require
from quandary_server.clock import now
from quandary_server.files import write_atomically

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    return [("user-agent", "grpc"), ("authorization", f"Bearer {token}")]


def test_the_first_start_makes_an_admin_token_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tokens.json"
    made = ensure_tokens(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116
    assert ensure_tokens(path) == made
    assert Keyring(path, lambda: NOW).caller(bearer(made.token)) == Caller("admin", frozenset({Role.ADMIN}))
    assert made.token not in repr(made)


def test_expiry_rotation_and_strangers(tmp_path: Path) -> None:
    path, time = tmp_path / "tokens.json", NOW
    fleet = Token(token="f" * 16, subject="fleet", roles=(Role.FLEET,), expires=NOW + timedelta(minutes=1))
    write_atomically(path, TokenFile(tokens=(fleet,)).model_dump_json().encode())
    keyring = Keyring(path, lambda: time)
    assert keyring.caller(bearer(fleet.token)).subject == "fleet"
    for strange in (bearer("x" * 16), bearer(""), [("authorization", fleet.token)], [("authorization", b"Bearer \xff")], []):
        with pytest.raises(Unauthenticated):
            keyring.caller(strange)
    time = NOW + timedelta(minutes=1)
    with pytest.raises(Unauthenticated, match="has expired"):
        keyring.caller(bearer(fleet.token))
    other = Token(token="o" * 16, subject="other", roles=(Role.FLEET,))
    write_atomically(path, TokenFile(tokens=(other,)).model_dump_json().encode())
    assert keyring.caller(bearer(other.token)).subject == "other"


def test_roles() -> None:
    require(Caller("a", frozenset({Role.ADMIN})), Role.TRAINER)
    require(Caller("b", frozenset({Role.TRAINER})), Role.TRAINER)
    with pytest.raises(PermissionDenied, match="c has the roles fleet, labeller; this call needs trainer"):
        require(Caller("c", frozenset({Role.FLEET, Role.LABELLER})), Role.TRAINER)
    with pytest.raises(PermissionDenied, match="d has the roles none"):
        require(Caller("d", frozenset()), Role.FLEET)


def test_a_file_without_an_admin_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    fleet = Token(token="f" * 16, subject="fleet", roles=(Role.FLEET,))
    path.write_text(TokenFile(tokens=(fleet,)).model_dump_json())
    with pytest.raises(CorruptArtefact, match=r"tokens\.json has no valid token with the role admin"):
        ensure_tokens(path)


@pytest.mark.parametrize("content", ["", "{", '{"tokens": [{"token": "short", "subject": "a", "roles": []}]}', '{"x": 1}'])
def test_a_malformed_file_is_named_and_its_content_is_not(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(CorruptArtefact, match=r"tokens\.json is no valid token file") as caught:
        read_tokens(path)
    assert "short" not in str(caught.value)


def test_while_the_file_is_torn_or_gone_its_last_tokens_count(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = ensure_tokens(path).token
    keyring = Keyring(path, now)
    presented = [("authorization", f"Bearer {token}")]
    assert keyring.caller(presented).subject == "admin"
    path.write_text("{")
    assert keyring.caller(presented).subject == "admin"
    path.unlink()
    assert keyring.caller(presented).subject == "admin"
    other = ensure_tokens(path).token
    with pytest.raises(Unauthenticated):
        keyring.caller(presented)
    assert keyring.caller([("authorization", f"Bearer {other}")]).subject == "admin"


def test_an_expired_admin_token_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    old = Token(token="o" * 16, subject="old", roles=(Role.ADMIN,), expires=now() - timedelta(seconds=1))
    new = Token(token="n" * 16, subject="new", roles=(Role.ADMIN,), expires=now() + timedelta(hours=1))
    path.write_text(TokenFile(tokens=(old, new)).model_dump_json())
    assert admin_token(path) == new
