"""Ordinary mistakes at the command line end in a line and a code, never in a trace."""

import json
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from quandary_server.auth import ensure_tokens
from quandary_server.storage.fleet_log import SqliteFleetLog
from quandary_server.storage.frame_log import LogRecord

BAD_INPUT, FAILED = 2, 1


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder of labels without any."""
    (tmp_path / "labels").mkdir()
    return str(tmp_path / "labels")


@pytest.mark.parametrize("content", ["", "{", "{}", "null", '[{"name": "a"}]', '[{"name": 1, "frame_id": "a"}]', "[" * 10_000])
def test_a_file_that_holds_no_leases_is_named(quandary: Any, folder: str, content: str) -> None:
    Path("leased.json").write_text(content)
    code, said = quandary("queue", "ack", "--labels", folder, "--leased", "leased.json")
    assert (code, said) == (
        BAD_INPUT,
        "InvalidArgument: --leased is leased.json, must be what `quandary queue lease --json` printed",
    )


@pytest.mark.parametrize(("given", "place"), [("nope.json", "nope.json"), ("labels", "labels/leases.json")])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(quandary: Any, folder: str, given: str, place: str) -> None:
    assert quandary("queue", "ack", "--labels", folder, "--leased", given) == (FAILED, f"{place}: No such file or directory")


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--data", "/proc/q"),
        ("log", "publish", "fleet", "--data", "/proc/q"),
        ("simulate", "/proc/q", "--frames", "1"),
        ("demo", "--out", "/proc/q"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(quandary: Any, arguments: tuple[str, ...]) -> None:
    fleet = Path("fleet")
    (fleet / "velodyne").mkdir(parents=True)
    (fleet / "frames.csv").write_text("id,drive,raw_frame,points,label_source,split\n")
    code, said = quandary(*arguments)
    assert code == FAILED
    assert said.startswith("/proc/")
    assert said.endswith(": No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("up", "--data", "file"), "--data"),
        (("simulate", "file"), "'file' is a file"),
        (("demo", "--out", "file"), "--out"),
        (("demo", "--out", "new", "--json", "missing/y.json"), "missing/y.json cannot be written"),
        (("bench", "client", "--json", "missing/y.json"), "missing/y.json cannot be written"),
        (("bench", "client", "--json", "."), ". cannot be written"),
        (("queue", "lease", "--minutes", "nan"), "'--minutes': nan, must be less than or equal to 1440"),
        (("queue", "lease", "--minutes", "1e300"), "'--minutes': 1e300, must be less than or equal to 1440"),
        (("queue", "lease", "-n", "x"), "'-n': x, must be a valid integer"),
        (("queue", "watch", "--head", "51"), "'--head': 51, must be less than or equal to 50"),
        (("queue", "band", "f0", "best"), "'best' is not one of 'safety', 'campaign', 'active_learning'"),
        (("queue", "ack", "--labels", "."), "there is no leases.json in ."),
        (("generations", "rollback", "--timeout", "nan"), "'--timeout': nan, must be less than or equal to 600"),
        (("train", "--seed", "99999999999999999999999"), "99999, must be less than or equal to 18446744073709551615"),
        (("train", "--steps", "99999999999999"), "99999999999999, must be less than or equal to 1000000"),
    ],
)
def test_an_option_out_of_bounds_is_named(quandary: Any, arguments: tuple[str, ...], named: str) -> None:
    Path("file").touch()
    code, said = quandary(*arguments)
    assert code == BAD_INPUT
    assert named in said


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("QUANDARY_CONFIG", "nope.toml", "QUANDARY_CONFIG is nope.toml, must be a TOML file"),
        ("QUANDARY_CONFIG", "torn.toml", "QUANDARY_CONFIG is torn.toml, must be a TOML file: Invalid value"),
        ("QUANDARY_SCORING", "{bad", "QUANDARY_SCORING is {bad, must be JSON"),
        ("QUANDARY_SCORING__PORT", "0", "scoring.port is 0, must be greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_read_are_named(
    quandary: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    Path("torn.toml").write_text("a = [")
    monkeypatch.setenv(variable, value)
    code, found = quandary("log", "lag")
    assert code == BAD_INPUT
    assert found.startswith(f"InvalidArgument: {said}")


def stats_of_somebody(quandary: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Ask where somebody listens."""
    with socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        monkeypatch.setenv("QUANDARY_SELECTOR__PORT", str(listening.getsockname()[1]))
        code, said = quandary("queue", "stats")
    return code, said


def test_in_the_wrong_folder_the_way_to_a_token_is_told(quandary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = stats_of_somebody(quandary, monkeypatch)
    assert code == FAILED
    assert said.startswith("Unauthenticated: no token: set QUANDARY_TOKEN, or name the data directory")


def test_a_data_directory_without_its_token_is_named(quandary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_tokens(Path("quandary-data/tokens.json"))
    Path("quandary-data/admin.token").chmod(0o644)
    code, said = stats_of_somebody(quandary, monkeypatch)
    assert code == FAILED
    assert said.startswith("CorruptArtefact: admin.token has the mode 0644, must be 0600")
    Path("quandary-data/admin.token").unlink()
    code, said = stats_of_somebody(quandary, monkeypatch)
    assert code == FAILED
    assert said.startswith(
        "CorruptArtefact: admin.token cannot be read: No such file or directory; a service that starts makes one"
    )


def test_a_poisoned_record_is_shown_as_unreadable(quandary: Any) -> None:
    Path("quandary-data").mkdir()
    with SqliteFleetLog.open("quandary-data/fleet.log.db") as log:
        log.append([LogRecord("poison", b"\xff\xff")], now=datetime.now(UTC))
    code, said = quandary("log", "tail")
    assert code == 0
    assert "poison" in said
    assert "unreadable: the payload is no FrameRecord" in said
    code, said = quandary("log", "tail", "--json")
    assert code == 0
    assert json.loads(said)[0]["frame_id"] == "poison"


def test_parts_belong_to_one_benchmark(quandary: Any) -> None:
    code, said = quandary("bench", "client", "--only", "crops")
    assert (code, said) == (
        BAD_INPUT,
        "InvalidArgument: --only is given to client, must be given to scoring, queue, stream or train",
    )
    code, said = quandary("bench", "queue", "--only", "crops")
    assert (code, said) == (
        BAD_INPUT,
        "InvalidArgument: --only is crops, must be one of tracks, leases, grpc, growth, fenced, rerank",
    )
