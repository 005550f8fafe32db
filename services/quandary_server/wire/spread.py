"""How far an object may be from where the detector sees it, read off its message."""

import math

from quandary.v1 import scoring_pb2

__all__ = ["centre_sigma_m", "deviations_m"]

PARAMETERS = 7


def deviations_m(found: scoring_pb2.BoxUncertainty) -> tuple[float, float] | None:
    """Return the standard deviations of the centre along the frustum and across it, of both kinds together; None if unknown."""
    known = [values for values in (found.aleatoric_variance, found.epistemic_variance) if len(values) == PARAMETERS]
    if not known:
        return None
    return math.sqrt(sum(values[0] for values in known)), math.sqrt(sum(values[1] for values in known))


def centre_sigma_m(found: scoring_pb2.BoxUncertainty) -> float | None:
    """Return the standard deviation of the centre on the ground; None if unknown."""
    spread = deviations_m(found)
    return None if spread is None else math.hypot(*spread)
