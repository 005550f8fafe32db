"""What is said, and left behind, where long work is stopped."""

import signal

import pytest

from quandary_server.cli.stopping import Reached, stoppable

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def stopped(number: signal.Signals, reached: Reached, tidied: list[str]) -> None:
    """Work that tidies, however it ends."""
    with stoppable(lambda: f"{reached}, kept in x\nthe same command goes on"):
        try:
            signal.raise_signal(number)
        finally:
            tidied.append("tidied")


def failing(number: signal.Signals) -> None:
    """Work that fails since what it stands on got the signal too."""
    with stoppable(lambda: str(Reached("training"))):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ConnectionError("Ray is gone") from None


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_work_with_two_lines_and_its_code(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/quandary", "experiment", "run", "full", "--out", "my folder"])
    before, reached, tidied = signal.getsignal(number), Reached("round"), list[str]()
    reached.note(3, 1200)
    with pytest.raises(SystemExit) as left:
        stopped(number, reached, tidied)
    assert left.value.code == code
    assert tidied == ["tidied"]
    assert signal.getsignal(number) == before
    assert capsys.readouterr().err.splitlines() == [
        "stopped after 3 of 1,200 rounds, kept in x",
        "the same command goes on: quandary experiment run full --out 'my folder'",
    ]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_what_fails_because_of_the_signal_is_no_fault(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        failing(number)
    assert left.value.code == code
    assert capsys.readouterr().err.startswith("stopped before the end of the first training: quandary")


def test_a_fault_and_an_exit_code_pass(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConnectionError), stoppable(lambda: "stopped"):
        raise ConnectionError
    with pytest.raises(SystemExit) as left, stoppable(lambda: "stopped"):
        raise SystemExit(1)
    assert left.value.code == 1
    assert capsys.readouterr().err == ""
