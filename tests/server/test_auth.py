import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from quandary.errors import CorruptArtefact, NotFound, PermissionDenied, Unauthenticated, WrongState
from quandary_server.auth import (
    Caller,
    Keyring,
    Role,
    admin_token,
    ensure_tokens,
    issue_token,
    read_tokens,
    require,
    revoke_token,
    rotate_token,
)
from quandary_server.clock import now

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Gate:
    """A keyring on a clock that the test moves."""

    def __init__(self, path: Path) -> None:
        self.time = NOW
        self._keyring = Keyring(path, lambda: self.time)

    def subject(self, token: str) -> str:
        return self._keyring.caller([("user-agent", "grpc"), ("authorization", f"Bearer {token}")]).subject

    def refuses(self, token: str, why: str = "not valid") -> None:
        with pytest.raises(Unauthenticated, match=why):
            self.subject(token)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "tokens.json"


@pytest.fixture
def gate(path: Path) -> Gate:
    return Gate(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_an_admin_token_that_only_its_owner_reads(path: Path) -> None:
    made = ensure_tokens(path)
    assert mode(path) == mode(path.with_name("admin.token")) == 0o600
    assert ensure_tokens(path) == admin_token(path) == made
    caller = Keyring(path, lambda: NOW).caller([("authorization", f"bearer {made}")])
    assert caller == Caller("admin", frozenset({Role.ADMIN}))


def test_the_token_file_keeps_no_token(path: Path) -> None:
    admin, fleet = ensure_tokens(path), issue_token(path, "fleet-7", [Role.FLEET], time=NOW, lifetime=None)
    for token in (admin, fleet.token):
        assert token.split("_", 2)[2] not in path.read_text()
    assert fleet.token not in repr(fleet)
    assert fleet.record.sha256 not in repr(fleet)


def test_strangers_are_refused(path: Path, gate: Gate) -> None:
    admin = ensure_tokens(path)
    assert gate.subject(admin) == "admin"
    for strange in (
        "",
        "x" * 16,
        admin[:-1],
        f"{admin}x",
        admin.replace("quandary", "quandery"),
        f"{admin} {admin}",
        "ä",
        "_" * 9,
    ):
        gate.refuses(strange)
    keyring = Keyring(path, lambda: NOW)
    others: list[tuple[str, str | bytes]] = [("authorization", admin), ("authorization", b"Basic \xff"), ("token", admin)]
    for entry in others:
        with pytest.raises(Unauthenticated, match="no bearer token"):
            keyring.caller([entry])
    with pytest.raises(Unauthenticated):
        keyring.caller([("authorization", b"Bearer \xff\xfe")])


def test_a_token_expires(path: Path, gate: Gate) -> None:
    fleet = issue_token(path, "fleet", [Role.FLEET], time=NOW, lifetime=HOUR)
    gate.time = NOW + HOUR - timedelta(microseconds=1)
    assert gate.subject(fleet.token) == "fleet"
    gate.time = NOW + HOUR
    gate.refuses(fleet.token, f"the bearer token {fleet.record.id} of fleet has expired")


def test_rotation_overlaps_and_keeps_subject_roles_and_lifetime(path: Path, gate: Gate) -> None:
    old = issue_token(path, "fleet", [Role.FLEET, Role.LABELLER], time=NOW, lifetime=10 * HOUR)
    assert gate.subject(old.token) == "fleet"
    new = rotate_token(path, old.record.id, time=NOW + HOUR, overlap=2 * HOUR)
    assert (new.record.subject, new.record.roles, new.record.expires) == ("fleet", old.record.roles, NOW + 11 * HOUR)
    gate.time = NOW + 3 * HOUR - timedelta(microseconds=1)
    assert gate.subject(old.token) == gate.subject(new.token) == "fleet"
    gate.time = NOW + 3 * HOUR
    gate.refuses(old.token, "has expired")
    assert gate.subject(new.token) == "fleet"


def test_rotation_prolongs_no_token(path: Path) -> None:
    old = issue_token(path, "fleet", [Role.FLEET], time=NOW, lifetime=HOUR)
    rotate_token(path, old.record.id, time=NOW, overlap=24 * HOUR)
    assert read_tokens(path)[0].expires == NOW + HOUR


def test_the_data_directorys_own_token_is_rotated_in_its_place_and_not_revoked(path: Path, gate: Gate) -> None:
    first = ensure_tokens(path)
    (record,) = read_tokens(path)
    with pytest.raises(WrongState, match="rotate it with an overlap of 0"):
        revoke_token(path, record.id, time=NOW)
    second = rotate_token(path, record.id, time=NOW, overlap=timedelta())
    assert admin_token(path) == second.token != first
    assert mode(path.with_name("admin.token")) == 0o600
    gate.refuses(first, "has expired")
    assert gate.subject(second.token) == "admin"


def test_revoked_is_gone(path: Path, gate: Gate) -> None:
    fleet, other = (issue_token(path, name, [Role.FLEET], time=NOW, lifetime=None) for name in ("fleet", "other"))
    assert gate.subject(fleet.token) == "fleet"
    assert revoke_token(path, fleet.record.id, time=NOW) == fleet.record
    gate.refuses(fleet.token)
    assert gate.subject(other.token) == "other"
    with pytest.raises(NotFound, match=f"no token has the id {fleet.record.id}"):
        revoke_token(path, fleet.record.id, time=NOW)
    with pytest.raises(NotFound):
        rotate_token(path, fleet.record.id, time=NOW, overlap=HOUR)


def test_what_expired_long_ago_is_forgotten(path: Path) -> None:
    old = issue_token(path, "old", [Role.FLEET], time=NOW, lifetime=HOUR)
    issue_token(path, "new", [Role.FLEET], time=NOW + timedelta(days=29), lifetime=None)
    assert old.record in read_tokens(path)
    issue_token(path, "newer", [Role.FLEET], time=NOW + timedelta(days=31), lifetime=None)
    assert [entry.subject for entry in read_tokens(path)] == ["new", "newer"]


@pytest.mark.parametrize(
    ("subject", "roles"), [("", [Role.FLEET]), ("two\nlines", [Role.FLEET]), ("x" * 129, [Role.FLEET]), ("a", [])]
)
def test_whom_a_token_cannot_name(path: Path, subject: str, roles: list[Role]) -> None:
    path.parent.mkdir()
    with pytest.raises(ValidationError):
        issue_token(path, subject, roles, time=NOW, lifetime=None)
    assert not path.exists()


def test_roles() -> None:
    require(Caller("a", frozenset({Role.ADMIN})), Role.TRAINER)
    require(Caller("b", frozenset({Role.TRAINER})), Role.TRAINER)
    with pytest.raises(PermissionDenied, match="c has the roles fleet, labeller; this call needs trainer"):
        require(Caller("c", frozenset({Role.FLEET, Role.LABELLER})), Role.TRAINER)
    with pytest.raises(PermissionDenied, match="d has the roles none"):
        require(Caller("d", frozenset()), Role.FLEET)


PLAIN = '{"tokens": [{"token": "short", "subject": "a", "roles": []}]}'


@pytest.mark.parametrize("content", ["", "{", PLAIN, '{"x": 1}'])
def test_a_malformed_file_is_named_and_its_content_is_not(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    for read in (read_tokens, ensure_tokens):
        with pytest.raises(CorruptArtefact, match=r"tokens\.json is no valid token file") as caught:
            read(path)
        assert "short" not in str(caught.value)
    assert path.read_text() == content


def test_two_tokens_of_one_id_are_refused(path: Path) -> None:
    ensure_tokens(path)
    path.write_text(path.read_text().replace('"tokens": [', '"tokens": [' + read_tokens(path)[0].model_dump_json() + ","))
    with pytest.raises(CorruptArtefact):
        read_tokens(path)


def test_while_the_file_is_torn_or_gone_its_last_tokens_count(path: Path, gate: Gate) -> None:
    token = ensure_tokens(path)
    assert gate.subject(token) == "admin"
    path.write_text("{")
    assert gate.subject(token) == "admin"
    path.unlink()
    assert gate.subject(token) == "admin"
    other = ensure_tokens(path)
    gate.refuses(token)
    assert gate.subject(other) == "admin"


def test_a_start_replaces_an_admin_token_that_is_lost_or_has_expired(path: Path) -> None:
    first = ensure_tokens(path)
    path.with_name("admin.token").unlink()
    second = ensure_tokens(path)
    assert second == admin_token(path) != first
    rotate_token(path, read_tokens(path)[1].id, time=now() - HOUR, overlap=timedelta())
    path.with_name("admin.token").write_text(second)
    assert ensure_tokens(path) != second


def test_an_admin_token_that_others_may_read_is_refused(path: Path) -> None:
    ensure_tokens(path)
    path.with_name("admin.token").chmod(0o640)
    assert admin_token(path) == ensure_tokens(path)
    path.with_name("admin.token").chmod(0o604)
    for read in (admin_token, ensure_tokens):
        with pytest.raises(CorruptArtefact, match=r"admin\.token has the mode 0604, must be 0600"):
            read(path)
