"""Does a candidate answer every crop soundly? Serving refuses what does not, and the whole frame with it."""

import numpy as np
from numpy.typing import NDArray

from quandary_server.registry.manifest import GateRecord
from quandary_server.trainer.gates.verdicts import undetermined

GATE = "answers"


def answers_gate(usable: NDArray[np.bool_]) -> GateRecord:
    """Return the verdict on which answers are sound (D,): refused for any that is not."""
    if not len(usable):
        return undetermined(GATE, "there are no crops to answer", floor=0.0)
    broken = int((~usable).sum())
    told = f"{broken} of {len(usable)} crops have an answer that is not finite, or a box beyond the sensor's reach"
    return GateRecord(
        gate=GATE,
        verdict="refused" if broken else "passed",
        candidate=broken / len(usable),
        floor=0.0,
        reason=f"{told}: their frames would be refused" if broken else "all crops are answered soundly",
    )
