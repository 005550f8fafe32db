"""What the parts of `quandary bench stream` measure. Apart from their names: this needs Ray's ports and SQLAlchemy."""

from collections.abc import Callable, Sequence

from quandary_server.bench.figures import Figure
from quandary_server.bench.progress import Told
from quandary_server.bench.stream.cost import cost_figures, mcap_figures
from quandary_server.bench.stream.live import live_figures
from quandary_server.bench.stream.memory import memory_figures
from quandary_server.bench.stream.parts import StreamPart
from quandary_server.bench.stream.sizes import StreamSizes
from quandary_server.bench.stream.steps import step_figures
from quandary_server.bench.stream.streaming import answering_service

Measure = Callable[[Told, StreamSizes, str], list[Figure]]

MEASURES: dict[StreamPart, Measure] = {
    StreamPart.COST: cost_figures,
    StreamPart.MCAP: mcap_figures,
    StreamPart.STEPS: step_figures,
    StreamPart.LIVE: live_figures,
    StreamPart.MEMORY: memory_figures,
}


def stream_figures(
    told: Told, parts: Sequence[StreamPart], sizes: StreamSizes, failed: Callable[[str, Exception], None]
) -> list[Figure]:
    """Return the figures of the parts, beside one scoring service for all of them.

    failed: told of a part that ended in an error, whose figures are left out.
    """
    with answering_service() as service:
        return figures_beside(service.target, told, parts, sizes, failed)


def figures_beside(
    scoring: str, told: Told, parts: Sequence[StreamPart], sizes: StreamSizes, failed: Callable[[str, Exception], None]
) -> list[Figure]:
    """Return the figures of the parts in the order of `StreamPart`; scoring: host:port of what answers."""
    figures: list[Figure] = []
    for part, measure in MEASURES.items():
        if part in parts:
            try:
                figures += measure(told, sizes, scoring)
            except Exception as error:
                failed(part.value, error)
    return figures
