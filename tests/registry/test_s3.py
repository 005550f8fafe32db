"""What only S3 does: be away, be slow, lose answers, cost a request each."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.registering import MEMBERS, NOW, register
from support.s3 import S3Server

from quandary.errors import InvalidArgument, Unavailable
from quandary_server.registry.directory import Registry
from quandary_server.registry.place import RegistryPlace
from quandary_server.registry.roster import Heartbeat
from quandary_server.registry.s3_objects import S3Objects, S3Place
from quandary_server.settings import load_settings

SOON = timedelta(milliseconds=300)


@pytest.fixture
def server(s3_server: S3Server) -> Iterator[S3Server]:
    yield s3_server
    s3_server.answers("well")


@pytest.fixture
def place(server: S3Server, tmp_path: Path) -> RegistryPlace:
    return RegistryPlace(tmp_path, server.place(tmp_path.name))


@pytest.fixture
def registry(place: RegistryPlace) -> Registry:
    return place.open()


def test_a_write_whose_answer_is_lost_is_known_again(registry: Registry, server: S3Server) -> None:
    server.answers("lost")
    generation = register(registry)
    assert generation.startswith("g000001-")
    server.answers("lost")
    pointer = registry.promote(generation, None, NOW, "me")
    assert registry.pointer() == pointer
    server.answers("lost")
    assert registry.promote(generation, pointer, NOW, "me").revision == 2


@pytest.mark.parametrize("how", ["away", "slow"])
def test_one_that_does_not_answer_is_told_in_time_and_breaks_nothing(
    server: S3Server, registry: Registry, tmp_path: Path, how: str
) -> None:
    pointer = registry.promote(register(registry), None, NOW, "me")
    hasty = RegistryPlace(tmp_path, server.place(tmp_path.name, timeout=SOON)).open()
    assert hasty.pointer() == pointer
    server.answers(how)
    for call in (hasty.pointer, hasty.generations, lambda: register(hasty), lambda: hasty.roster.alive(NOW)):
        with pytest.raises(Unavailable, match=f"{tmp_path.name} could not be reached"):
            call()
    server.answers("well")
    assert hasty.pointer() == pointer
    assert hasty.generations() == [pointer.generation]


def test_a_bucket_that_is_not_there_is_no_empty_registry(server: S3Server) -> None:
    registry = Registry(S3Objects(S3Place("s3://elsewhere/models", server.endpoint)))
    for call in (registry.pointer, registry.generations, lambda: register(registry)):
        with pytest.raises(Unavailable, match="elsewhere"):
            call()


def test_registries_of_one_bucket_do_not_see_each_other(server: S3Server, registry: Registry, tmp_path: Path) -> None:
    generation = register(registry)
    others = [RegistryPlace(tmp_path, server.place(f"{tmp_path.name}{end}")).open() for end in ("2", "/models")]
    assert [other.generations() for other in others] == [[], []]
    assert registry.generations() == [generation]


def test_a_load_asks_once_for_each_file(server: S3Server, registry: Registry, tmp_path: Path) -> None:
    generation = register(registry)
    registry.load(generation)
    asked = server.requests(tmp_path.name)
    assert {key: count for key, count in asked.items() if key.startswith("GET ") and generation in key} == {
        f"GET models/{generation}/{name}": 1 for name in (*MEMBERS, "manifest.json")
    }


def test_a_heartbeat_is_read_again_only_when_it_was_written(server: S3Server, registry: Registry, tmp_path: Path) -> None:
    for replica in ("a", "b"):
        registry.roster.beat(Heartbeat(replica=replica, generation="", beaten=NOW))
    for _ in range(3):
        assert [beat.replica for beat in registry.roster.alive(NOW)] == ["a", "b"]
    registry.roster.beat(Heartbeat(replica="b", generation="x", beaten=NOW))
    assert [beat.generation for beat in registry.roster.alive(NOW)] == ["", "x"]
    asked = server.requests(tmp_path.name)
    assert [asked[f"GET roster/{replica}.json"] for replica in ("a", "b")] == [1, 2]


@pytest.mark.parametrize("url", ["models", "s3:///models", "https://bucket/models", "s3://bucket/models?x=1"])
def test_a_url_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_settings(registry={"url": url})
    assert caught.value.violations[0].field == "registry.url"


def test_settings_alone_choose_it(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANDARY_REGISTRY__URL", f"s3://models/{tmp_path.name}")
    monkeypatch.setenv("QUANDARY_REGISTRY__ENDPOINT", server.endpoint)
    settings = load_settings(data=tmp_path)
    generation = register(settings.open_registry())
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings().open_registry().generations() == [generation]
    assert not settings.registry_directory.exists()
