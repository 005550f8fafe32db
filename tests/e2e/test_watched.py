"""A generation that fails in serving: Serve's replica and the trainer as they are, over a registry in S3."""

import asyncio
import logging
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support.generations import SMALL, Sick, untrained
from support.s3 import BUCKET, S3Server
from support.scoring import register
from support.serving import Serving
from support.waiting import wait_for

from quandary import AsyncTrainingClient, Frame, NonFiniteOutput, Unavailable, result_score
from quandary_server import metrics
from quandary_server.clock import now
from quandary_server.cluster import LOOPBACK, free_ports
from quandary_server.settings import Settings
from quandary_server.storage.store import Store
from quandary_server.trainer.service import serve_trainer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CALLS = 25
MOVES = metrics.TRAINER_POINTER_MOVES.name


@pytest.fixture(scope="module")
def serving(ray_cluster: str, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    registry = {"url": f"s3://{BUCKET}/served", "endpoint": s3_server.endpoint, "timeout": "PT1S"}
    running = Serving(tmp_path_factory.mktemp("watched"), registry)
    running.start(replicas=1, poll="PT0.25S")
    yield running
    s3_server.answers("well")
    running.stop()


def with_trainer(settings: Settings) -> Settings:
    port, metrics_port = free_ports(2)
    watch = settings.trainer.watch.model_copy(update={"min_answers": CALLS})
    update = {"port": port, "metrics_port": metrics_port, "watch": watch, "new_crops": 0}
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)})


def answers(serving: Serving, frame: Frame) -> list[Any]:
    with serving.client() as client:
        return [client.score_frames([frame]).results[0] for _ in range(CALLS)]


def scraped(settings: Settings) -> str:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{settings.trainer.metrics_port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


def test_it_is_rolled_back_and_log_audit_and_metrics_say_so_and_s3_may_be_away(
    serving: Serving, s3_server: S3Server, make_frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings, frame = with_trainer(serving.settings), make_frame("a")
    good, sick, late = (
        register(serving.registry, artefacts)
        for artefacts in (untrained(SMALL, 2), untrained(SMALL, 2, kind=Sick), untrained(SMALL, 2, seed=5))
    )

    async def go() -> None:
        trainer = asyncio.create_task(serve_trainer(settings))
        async with AsyncTrainingClient(f"{LOOPBACK}:{settings.trainer.port}", token=serving.token) as client:
            assert len((await client.promote(good)).replicas) == 1
            assert {r.generation for r in await asyncio.to_thread(answers, serving, frame)} == {good}
            assert len((await client.promote(sick)).replicas) == 1
            failed = await asyncio.to_thread(answers, serving, frame)
            with pytest.raises(NonFiniteOutput):
                result_score(failed[0])
            await asyncio.to_thread(wait_for, lambda: answering(serving) == [good])
            await asyncio.to_thread(wait_for, lambda: f'{MOVES}{{action="roll_back",cause="errors"}} 1.0' in scraped(settings))

            # away while it is promoted: told, and nothing changes for those who ask for scores
            for how, problem in (("refuses", "does not let us at"), ("away", "could not be reached")):
                s3_server.answers(how)
                with pytest.raises(Unavailable, match=problem):
                    await client.promote(late)
                assert {r.generation for r in await asyncio.to_thread(answers, serving, frame)} == {good}
            s3_server.answers("well")
            assert len((await client.promote(late)).replicas) == 1
            assert {r.generation for r in await asyncio.to_thread(answers, serving, frame)} == {late}
        trainer.cancel()
        await asyncio.gather(trainer, return_exceptions=True)

    with caplog.at_level(logging.INFO):
        asyncio.run(go())
    told = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("pointer_moved action=roll_back")
    ]
    assert len(told) == 1
    assert f"generation={good} before={sick} mover=trainer cause=errors reason=25 of 25 answers failed" in told[0]
    with Store.open(settings.database) as store:
        moves = [(e.action.value, e.subject, e.details["generation"], e.details["cause"]) for e in store.audit.list().items]
    assert moves == [
        ("promote", "admin", good, "call"),
        ("promote", "admin", sick, "call"),
        ("roll_back", "trainer", good, "errors"),
        ("promote", "admin", late, "call"),
    ]


def answering(serving: Serving) -> list[str]:
    return [beat.generation for beat in serving.registry.roster.alive(now())]
