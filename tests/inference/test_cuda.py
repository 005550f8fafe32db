"""Which device a provider means, by what the environment shows of the machine."""

import logging
from pathlib import Path

import pytest

from quandary.errors import InvalidArgument
from quandary_server.inference.cuda import DRIVER, VISIBLE, cuda_problem, open_device
from quandary_server.inference.device import Bound, Host
from quandary_server.inference.provider import Provider
from quandary_server.inference.session import CUDA, open_session
from quandary_server.registry.directory import Artefacts


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that sees no GPU, on whatever machine."""
    monkeypatch.setenv(VISIBLE, "")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("hidden", ["", "-1", " "])
def test_hidden_gpus_are_told_by_the_variable_that_hides_them(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv(VISIBLE, hidden)
    problem = cuda_problem()
    assert problem is not None
    assert problem.startswith(f"{VISIBLE}={hidden!r} hides all GPUs") or CUDA in problem


@pytest.mark.usefixtures("no_gpu")
def test_auto_means_the_cpu_without_a_gpu_and_says_so_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "quandary_server.inference.cuda"):
        assert isinstance(open_device(Provider.AUTO), Host)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("device_chosen provider=cpu asked=auto reason=")


def test_auto_means_the_cpu_where_no_gpu_is_reserved_whatever_the_machine_has(caplog: pytest.LogCaptureFixture) -> None:
    """Ray 2.60 hides GPUs only from who reserves one: those that reserve none see them all, and would share the first."""
    with caplog.at_level(logging.INFO, "quandary_server.inference.cuda"):
        assert isinstance(open_device(Provider.AUTO, gpu_reserved=False), Host)
    [record] = caplog.records
    # a GPU that idles is worth a warning
    assert record.levelname == ("INFO" if cuda_problem() else "WARNING")
    assert "replica_gpus is 0" in record.getMessage()


@pytest.mark.usefixtures("no_gpu")
def test_cuda_by_name_is_refused_with_what_is_missing() -> None:
    with pytest.raises(InvalidArgument, match=f"provider is cuda, must be auto or cpu: .*({VISIBLE}|{CUDA})"):
        open_device(Provider.CUDA)


def test_the_cpu_is_the_cpu() -> None:
    assert isinstance(open_device(Provider.CPU), Host)


def test_a_machine_without_a_driver_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    problem = cuda_problem()
    if problem is None:
        assert isinstance(open_device(Provider.AUTO), Bound)
        pytest.skip("this machine has a GPU")
    if Path("/dev/nvidiactl").exists() or CUDA in problem:
        pytest.skip("this machine has a driver, or ONNX Runtime no CUDA provider")
    assert problem == f"{DRIVER}, the NVIDIA driver, is not on this machine"


def test_a_session_is_never_opened_by_auto_and_never_falls_back(generation: Artefacts) -> None:
    with pytest.raises(ValueError, match="for the CPU or for CUDA"):
        open_session(generation.members[0], Provider.AUTO)
    if cuda_problem() is None:
        pytest.skip("this machine has CUDA")
    with pytest.raises(RuntimeError, match="provider cuda was asked for"):
        open_session(generation.members[0], Provider.CUDA)
