"""Callers of an engine in this process, each of which asks again when it is answered."""

import asyncio
import time
from dataclasses import dataclass

from quandary.convert import frame_message
from quandary.frames import Frame
from quandary.options import ScoringOptions
from quandary_server.bench.frames import cropped_frame
from quandary_server.inference.generation import Generation
from quandary_server.scoring.admission import QueueLimit
from quandary_server.scoring.batch import BatchLimit
from quandary_server.scoring.engine import Engine, FramesScored
from quandary_server.scoring.schedule import Terms
from quandary_server.scoring.work import Work
from quandary_server.wire.frames import Limits

CALLERS = 16
LIMITS = Limits(max_frames=1, max_proposals=256, max_crops=256, max_points=500_000, max_message_bytes=64 << 20)
WITHOUT_END = QueueLimit(service_times=0.0, least_s=3600.0)


@dataclass(frozen=True)
class Load:
    """What 16 callers ask: a frame of so many crops each, of a generation where it is, batched up to a limit or not."""

    generation: Generation
    options: ScoringOptions
    crops: int
    batching: BatchLimit | None


def crops_per_second(load: Load, seconds: float) -> float:
    """Return the crops answered in a second."""
    return asyncio.run(_offered(load, seconds))


def asked(frame: Frame, generation: Generation, options: ScoringOptions) -> FramesScored:
    """Return what a request for one frame asks for."""
    return FramesScored(LIMITS, [frame_message(frame)], ["frame"], generation, options)


async def _offered(load: Load, seconds: float) -> float:
    engine = Engine(LIMITS, WITHOUT_END, _Unobserved(), batching=load.batching)
    messages = [frame_message(cropped_frame(load.crops, seed)) for seed in range(CALLERS)]
    answered = 0

    async def caller(k: int, until: float) -> None:
        nonlocal answered
        while time.perf_counter() < until:
            await engine.score(load.generation, [messages[k]], ["frame"], load.options, Terms())
            answered += load.crops

    # the first round of calls warms up
    await asyncio.gather(*(caller(k, 0.0) for k in range(CALLERS)))
    answered, begun = 0, time.perf_counter()
    await asyncio.gather(*(caller(k, begun + seconds) for k in range(CALLERS)))
    elapsed = time.perf_counter() - begun
    engine.close()
    return answered / elapsed


class _Unobserved:
    """Nobody is told."""

    def arrived(self, kind: str, outcome: str) -> None: ...

    def begun(self, kind: str, waited_s: float, together: int) -> None: ...

    def dropped(self, kind: str, cause: str) -> None: ...

    def unfinished(self, kind: str, work_s: float) -> None: ...

    def work(self, options: ScoringOptions, work: Work) -> None: ...
