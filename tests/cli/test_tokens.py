"""quandary token, on a data directory of its own."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quandary_server.auth import Keyring, admin_token
from quandary_server.clock import now

TOKENS = Path("quandary-data/tokens.json")


@pytest.fixture
def token(command_line: Any) -> Any:
    """Run `quandary token`; return its code and what it said on stdout and stderr."""
    return partial(command_line, "token")


def subject(presented: str) -> str:
    return Keyring(TOKENS, now).caller([("authorization", f"Bearer {presented}")]).subject


def test_a_token_is_made_shown_once_listed_rotated_and_revoked(token: Any) -> None:
    code, out, err = token("make", "fleet-7", "--role", "fleet", "--role", "labeller", "--days", "30")
    made = out.strip()
    assert (code, subject(made)) == (0, "fleet-7")
    assert "fleet-7 as fleet, labeller, until" in err
    assert made not in err

    code, out, _ = token("list", "--json")
    admin, fleet = json.loads(out)
    assert (admin["subject"], admin["expires"], admin["state"]) == ("admin", None, "valid")
    assert (fleet["roles"], fleet["state"]) == (["fleet", "labeller"], "valid")
    days = (datetime.fromisoformat(fleet["expires"]) - datetime.now(UTC)).total_seconds() / 86_400
    assert days == pytest.approx(30, abs=0.1)
    assert made.split("_", 2)[2] not in out
    assert "sha256" not in out
    assert "fleet-7" in token("list")[1]

    code, out, _ = token("rotate", fleet["id"], "--overlap-hours", "1", "--json")
    successor = json.loads(out)
    assert successor["subject"] == subject(successor["token"]) == subject(made) == "fleet-7"
    states = {entry["id"]: entry["state"] for entry in json.loads(token("list", "--json")[1])}
    assert states[fleet["id"]] == "expires soon"

    code, out, _ = token("revoke", fleet["id"])
    assert (code, out) == (0, f"{fleet['id']} of fleet-7 is revoked\n")
    code, _, err = token("revoke", fleet["id"])
    assert code == 1
    assert "NotFound" in err


def test_the_admins_token_is_rotated_where_the_commands_read_it(token: Any) -> None:
    token("make", "x", "--role", "fleet")
    before = admin_token(TOKENS)
    admin = json.loads(token("list", "--json")[1])[0]
    code, _, err = token("revoke", admin["id"])
    assert code == 1
    assert "rotate it with an overlap of 0" in " ".join(err.split())
    code, out, _ = token("rotate", admin["id"], "--overlap-hours", "0")
    assert admin_token(TOKENS) == out.strip() != before
    assert subject(out.strip()) == "admin"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("make", "fleet 7", "--role", "fleet"), "subject is fleet 7"),
        (("make", "fleet-7"), "Missing option '--role'"),
        (("make", "fleet-7", "--role", "king"), "'king' is not one of"),
        (("list",), "tokens.json cannot be read: No such file or directory"),
    ],
)
def test_mistakes_are_named(token: Any, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = token(*arguments)
    assert code != 0
    assert said in " ".join(err.split())
