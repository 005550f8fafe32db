"""How much `quandary bench stream` measures with."""

from dataclasses import dataclass, fields

from quandary_server.bench.scale import check_scale

AT_LEAST = 10


@dataclass(frozen=True)
class StreamSizes:
    """frames: streamed to tell the cost of one, `warm_up` of them before it counts, in chunks of `chunk`.

    mcap_frames: the same with clouds inside MCAP files. parts: frames that each stage is timed with by itself. live: frames
    published one by one. long: frames over which memory is watched, behind `long_warm_up` others.
    """

    frames: int = 6_000
    warm_up: int = 1_000
    chunk: int = 500
    mcap_frames: int = 3_000
    parts: int = 500
    live: int = 1_500
    long: int = 100_000
    long_warm_up: int = 10_000

    def scaled(self, share: float) -> "StreamSizes":
        """Return this share of each, at least ten. Raises InvalidArgument unless 0 < share <= 1."""
        check_scale(share)
        return StreamSizes(*(max(round(getattr(self, field.name) * share), AT_LEAST) for field in fields(self)))
