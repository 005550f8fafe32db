"""Ten thousand frames through one stream, in a process of its own: what it holds, and what the replica holds, on the way."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import psutil

from quandary import Estimator, Frame, ScoringClient, ScoringOptions
from quandary_server.bench.frames import cropped_frame

FRAMES, LOOK_EVERY = 10_000, 1_000
LIMIT_S = 600.0


@dataclass(frozen=True)
class StreamSpec:
    """Where to stream to; replica: its process id."""

    target: str
    token: str
    replica: int
    crops: int = 16


@dataclass
class StreamReport:
    """Frames read ahead of their answers at most, and the resident memory of both sides in MB, every thousand frames."""

    ahead: int = 0
    client_mb: list[float] = field(default_factory=list)
    replica_mb: list[float] = field(default_factory=list)

    @staticmethod
    def growth(mb: list[float]) -> float:
        """Return by how much memory grew from the first look on."""
        return max(mb) - mb[0]


def stream(spec: StreamSpec) -> StreamReport:
    """Stream the frames; each must be answered, in order."""
    report, read, frame = StreamReport(), 0, cropped_frame(spec.crops)
    client_process, replica = psutil.Process(), psutil.Process(spec.replica)

    def frames() -> Iterator[Frame]:
        nonlocal read
        while read < FRAMES:
            read += 1
            yield frame

    with ScoringClient(spec.target, token=spec.token) as client:
        for number, answer in enumerate(client.stream_scores(frames(), ScoringOptions(Estimator.SOFTMAX)), start=1):
            if answer.sequence != number - 1 or not answer.result.HasField("score"):
                raise RuntimeError(f"answer {number} is of frame {answer.sequence}: {answer.result.error}")
            report.ahead = max(report.ahead, read - number)
            if number % LOOK_EVERY == 0:
                report.client_mb.append(client_process.memory_info().rss / 2**20)
                report.replica_mb.append(replica.memory_info().rss / 2**20)
    return report


def streamed(spec: StreamSpec) -> StreamReport:
    """Have a process stream the frames, and return its report."""
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, input=json.dumps(asdict(spec)), capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return StreamReport(**json.loads(done.stdout))


if __name__ == "__main__":
    json.dump(vars(stream(StreamSpec(**json.load(sys.stdin)))), sys.stdout)
