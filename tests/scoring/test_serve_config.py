"""deploy/serve.yaml says what Serve and our settings understand, and names every knob of the topologies."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from quandary.errors import InvalidArgument
from quandary_server.scoring.app import APPLICATION, from_config
from quandary_server.scoring.registration import SERVICERS
from quandary_server.settings import AutoscalingSettings, BatchingSettings, ScoringSettings, SpreadSettings, load_settings

FILE = Path(__file__).parents[2] / "deploy" / "serve.yaml"


@pytest.fixture
def config() -> Any:
    return yaml.safe_load(FILE.read_text())


def test_it_is_a_config_of_serve_with_the_ports_and_servicers_of_quandary_scoring(config: Any) -> None:
    schema = ServeDeploySchema.model_validate(config)
    assert [(app.name, app.route_prefix) for app in schema.applications] == [(APPLICATION, "/")]
    assert schema.grpc_options.grpc_servicer_functions == SERVICERS
    scoring = load_settings().scoring
    assert (schema.grpc_options.port, schema.http_options.port, schema.http_options.host) == (
        scoring.port,
        scoring.http_port,
        scoring.host,
    )


def test_its_arguments_are_settings_and_every_knob_of_topology_and_autoscaling_is_there(config: Any) -> None:
    arguments = config["applications"][0]["args"]
    settings = load_settings(**arguments)
    assert settings.scoring.autoscaling == AutoscalingSettings()
    assert set(arguments["scoring"]["autoscaling"]) == set(AutoscalingSettings.model_fields)
    assert set(arguments["scoring"]["spread"]) == set(SpreadSettings.model_fields)
    assert settings.scoring.batching == BatchingSettings()
    assert set(arguments["scoring"]["batching"]) == set(BatchingSettings.model_fields)
    assert {name for name in ScoringSettings.model_fields if name.startswith(("replica", "topology", "provider"))} <= set(
        arguments["scoring"]
    )


def test_a_wrong_argument_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"scoring\.topology is scattered, must be 'packed' or 'spread'"):
        from_config({"data": str(tmp_path), "scoring": {"topology": "scattered"}})


@pytest.mark.parametrize("topology", ["packed", "spread"])
def test_an_application_is_made_of_it_with_what_its_replicas_read(config: Any, tmp_path: Path, topology: str) -> None:
    arguments = config["applications"][0]["args"] | {"data": str(tmp_path)}
    arguments["scoring"]["topology"] = topology
    from_config(arguments)
    assert (tmp_path / "tokens.json").is_file()
