from datetime import timedelta
from pathlib import Path

import pytest

from quandary.errors import InvalidArgument
from quandary.options import Acquisition, Estimator
from quandary_server.settings import CONFIG_VARIABLE, load_settings
from quandary_server.storage.options import DEFAULTS


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


def test_defaults_are_the_embedded_ones() -> None:
    settings = load_settings()
    assert settings.scoring.host == settings.selector.host == settings.trainer.host == "127.0.0.1"
    assert settings.scoring_target == "127.0.0.1:9700"
    assert settings.trainer.members == 5


def test_arguments_beat_the_environment_and_that_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "quandary.toml"
    file.write_text('data = "/from/file"\n[scoring]\nport = 1111\nreplicas = 3\n[trainer]\nmembers = 2\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("QUANDARY_SCORING__PORT", "2222")
    settings = load_settings(trainer={"members": 7})
    assert (settings.scoring.port, settings.scoring.replicas, settings.trainer.members) == (2222, 3, 7)
    assert settings.data == Path("/from/file")
    assert settings.trainer.port == 9702


def test_another_process_loads_the_same_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        data=Path("/x"),
        selector={"control_drives": ("a", "b"), "poll": timedelta(milliseconds=7)},
        trainer={"fit": {"steps": 9}},
        scoring={"port": 4321},
        store={"url": "postgresql://ops:secret@db/quandary", "upgrade": True, "lock_timeout": timedelta(seconds=5)},
        target="front:9443",
        tls={"ca": "/ca.pem", "certificate": "/c.pem", "key": "/c.key"},
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"scoring": {"port": 0}}, "scoring.port"),
        ({"scoring": {"replicas": -1}}, "scoring.replicas"),
        ({"scoring": {"prot": 9}}, "scoring.prot"),
        ({"scoring": {"poll": timedelta()}}, "scoring.poll"),
        ({"selector": {"poll": timedelta()}}, "selector.poll"),
        ({"trainer": {"poll": timedelta()}}, "trainer.poll"),
        ({"selector": {"control_share": 1.5}}, "selector.control_share"),
        ({"trainer": {"fit": {"steps": 0}}}, "trainer.fit.steps"),
        ({"selector": {"estimator": "guess"}}, "selector.estimator"),
        ({"tls": {"ca": "/ca.pem", "key": "/c.key"}}, "tls"),
        ({"selector": {"scoring_tls": {"certificate": "/c.pem", "key": "/c.key"}}}, "selector.scoring_tls"),
        ({"store": {"connections": 1}}, "store.connections"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_wrong_setting_is_refused_with_field_value_and_bound(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_settings(**arguments)
    (violation,) = caught.value.violations
    assert violation.field == field
    assert violation.bound
    assert not violation.bound.startswith("Input should")


def test_the_store_is_the_data_directorys_own_unless_a_url_says_otherwise() -> None:
    assert load_settings(data=Path("/x")).store_place == Path("/x/quandary.db")
    elsewhere = load_settings(store={"url": "postgresql://ops:secret@db/quandary", "connections": 4})
    assert elsewhere.store_place == "postgresql://ops:secret@db/quandary"
    assert "secret" not in repr(elsewhere)
    assert elsewhere.store.options().connections == 4
    assert load_settings().store.options() == DEFAULTS


def test_settings_that_mean_nothing_together_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="needs no samples with SOFTMAX"):
        load_settings(selector={"estimator": Estimator.SOFTMAX})
    with pytest.raises(InvalidArgument, match="at least 1 with STABILITY"):
        load_settings(selector={"acquisition": Acquisition.STABILITY})


def test_more_replicas_than_autoscaling_may_have_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"replicas is 3, must be at most autoscaling.max_replicas, 2"):
        load_settings(scoring={"replicas": 3, "autoscaling": {"max_replicas": 2}})
    spread = {"spread": {"member_replicas": 3}, "autoscaling": {"max_replicas": 2}}
    load_settings(scoring=spread)
    with pytest.raises(InvalidArgument, match=r"spread\.member_replicas is 3, must be at most"):
        load_settings(scoring={"topology": "spread", **spread})


def test_as_many_members_are_deployed_as_are_trained_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(trainer={"members": 3}).member_deployments == 3
    monkeypatch.setenv("QUANDARY_SCORING__TOPOLOGY", "spread")
    monkeypatch.setenv("QUANDARY_SCORING__SPREAD__MEMBERS", "7")
    monkeypatch.setenv("QUANDARY_SCORING__AUTOSCALING__MAX_REPLICAS", "9")
    settings = load_settings()
    assert (settings.scoring.topology, settings.member_deployments) == ("spread", 7)
    assert settings.scoring.autoscaling.max_replicas == 9


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/nowhere/quandary.toml")
    with pytest.raises(InvalidArgument, match=r"QUANDARY_CONFIG is /nowhere/quandary\.toml, must be a TOML file"):
        load_settings()


def test_a_file_that_is_no_toml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "quandary.toml"
    for content in (b"data = ", b"\xff\xfe"):
        file.write_bytes(content)
        monkeypatch.setenv(CONFIG_VARIABLE, str(file))
        with pytest.raises(InvalidArgument, match=r"QUANDARY_CONFIG is .*quandary\.toml, must be a TOML file: "):
            load_settings()


@pytest.mark.parametrize(
    "variable", ["QUANDARY_SCORNIG__PORT", "QUANDARY_SCORING_PORT", "QUANDARY_DATA__X", "QUANDARY_", "quandary_prot"]
)
def test_a_variable_that_names_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "secret")
    with pytest.raises(InvalidArgument, match=f"{variable} is no setting, must be one of .*QUANDARY_TRAINER") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "path"), [("SCORING__FOO", "scoring.foo"), ("SCORING__SPREAD__FOO", "scoring.spread.foo")]
)
def test_a_name_that_a_section_has_not_is_refused_with_those_it_has(
    monkeypatch: pytest.MonkeyPatch, variable: str, path: str
) -> None:
    monkeypatch.setenv(f"QUANDARY_{variable}", "1")
    with pytest.raises(InvalidArgument, match=f"{path} is no setting, must be one of .*(replicas|members)"):
        load_settings()


def test_variables_for_others_and_in_small_letters_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANDARY_KITTI", "/kitti")
    monkeypatch.setenv("QUANDARY_VENV", "/venv")
    monkeypatch.setenv("quandary_scoring__port", "2222")
    assert load_settings().scoring.port == 2222


@pytest.mark.parametrize("value", ["{bad", "[" * 100_000])
def test_a_section_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("QUANDARY_SCORING", value)
    with pytest.raises(InvalidArgument, match=r"QUANDARY_SCORING is .*, must be JSON"):
        load_settings()


@pytest.mark.parametrize(("value", "named"), [("[bad", "QUANDARY_SELECTOR__CONTROL_DRIVES is"), ("a,b", '"selector"')])
def test_a_list_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch, value: str, named: str) -> None:
    monkeypatch.setenv("QUANDARY_SELECTOR__CONTROL_DRIVES", value)
    with pytest.raises(InvalidArgument, match=named):
        load_settings()


def test_the_token_does_not_show() -> None:
    assert "hunter2" not in repr(load_settings(token="hunter2"))
