"""A real trainer process is killed again and again in one run: nothing breaks, and the run comes to its end."""

from typing import Any

from quandary_server.bench.train.kill import SIGKILLED, wrong_with
from quandary_server.bench.train.mortal_trainer import Point, carry
from quandary_server.registry.directory import Registry
from quandary_server.settings import Settings, load_settings
from quandary_server.storage.run_values import RunStage, RunState
from quandary_server.storage.store import Store


def test_a_trainer_killed_in_training_as_it_registers_and_as_it_promotes(
    settings: Settings, store: Store, label: Any, ray_cluster: str
) -> None:
    label(8)
    trainer = {**settings.trainer.model_dump(), "lost_after": "PT1S", "checkpoint_every": "PT0.01S"}
    ray, selector = {"address": ray_cluster}, settings.selector.model_dump()
    here = load_settings(data=settings.data, ray=ray, trainer=trainer, selector=selector)
    registry = Registry(settings.registry_directory)
    stages = []
    for point in (Point.TRAINING, Point.REGISTERED, Point.DRAINING):
        assert carry(here, point) == SIGKILLED
        assert wrong_with(registry) == []
        run = store.runs.get("run-000001")
        assert run.state is RunState.RUNNING
        stages.append(run.stage)
    assert stages == [RunStage.TRAINING, RunStage.REGISTER, RunStage.PROMOTE]
    moved = registry.pointer()
    assert moved is not None

    assert carry(here) == 0
    run = store.runs.get("run-000001")
    assert (run.state, run.error, run.resumptions) == (RunState.SUCCEEDED, "", 3)
    assert registry.generations() == [run.generation] == [moved.generation]
    assert registry.pointer() == moved
    told = [line.text for line in store.run_log.lines(run.id)]
    assert [line for line in told if line.startswith("resumed")] == [
        "resumed in stage training (resumption 1 of 3)",
        "resumed in stage register (resumption 2 of 3)",
        "resumed in stage promote (resumption 3 of 3)",
    ]
    assert len([line for line in told if line.startswith("training") and " 0% done" in line]) == 1
