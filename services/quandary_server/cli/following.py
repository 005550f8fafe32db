"""Following a run, whose trainer may be started anew meanwhile: the run goes on, and so does who looks at it."""

import time
from collections.abc import Generator, Sequence
from datetime import timedelta

from quandary import TrainingClient, Unavailable
from quandary.v1 import training_pb2
from quandary_server.cli.output import err

TRY_EVERY_S = 0.5
Told = tuple[training_pb2.Run, Sequence[training_pb2.RunLine]]

PATIENCE = timedelta(minutes=2)
"""A trainer that has not answered for longer is not waited for any more."""


def followed(client: TrainingClient, run: str) -> Generator[Told]:
    """Yield a run whenever it changes or tells a line, with the lines that are new, until it ends.

    Raises as `TrainingClient.follow_run` does; Unavailable only where the trainer does not answer at first, or for two minutes.
    """
    told, answered_s, waiting = 0, None, False
    while True:
        known = told
        try:
            for response in client.follow_run(run):
                answered_s, waiting = time.monotonic(), False
                # who begins anew is told all lines again
                new = response.lines[known:]
                known = max(known - len(response.lines), 0)
                told += len(new)
                yield response.run, new
            return
        except Unavailable as error:
            if answered_s is None or time.monotonic() - answered_s > PATIENCE.total_seconds():
                raise
            if not waiting:
                err.print(f"the trainer does not answer ({error.message}); waiting for it to go on with {run}", markup=False)
            waiting = True
            time.sleep(TRY_EVERY_S)
