import socket
from pathlib import Path

import pytest
import ray

from quandary.errors import Unavailable
from quandary_server.settings import load_settings
from quandary_server.stack import Stack, alive


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = load_settings(data=tmp_path, selector={"port": port})
        with (
            Stack(settings, lambda _: None) as stack,
            pytest.raises(Unavailable, match=f"127.0.0.1:{port} is taken.*QUANDARY_SELECTOR__PORT"),
        ):
            stack.start()
    assert not (tmp_path / "logs").exists()


def test_two_on_one_data_directory_are_refused(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    with (
        Stack(settings, lambda _: None),
        pytest.raises(Unavailable, match="another Quandary runs on"),
        Stack(settings, lambda _: None),
    ):
        raise AssertionError("it was not refused")


def test_a_ray_that_it_did_not_start_goes_on(tmp_path: Path, ray_cluster: str) -> None:
    with Stack(load_settings(data=tmp_path), lambda _: None):
        pass
    assert ray.is_initialized()
    assert ray.get_runtime_context().gcs_address == ray_cluster


def test_nobody_is_not_alive() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert not alive(f"127.0.0.1:{silent.getsockname()[1]}")
