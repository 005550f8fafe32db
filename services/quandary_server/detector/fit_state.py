"""The state of a fit between two steps, as bytes."""

import io
import json
import pickle
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from quandary.errors import CorruptArtefact


@dataclass(frozen=True, slots=True)
class FitState:
    """All that the steps to come depend on: weights, optimiser, schedule, the rest of the epoch's order, both generators.

    order: (R,) indexes of examples that this epoch has yet to show.
    """

    step: int
    net: dict[str, Any]
    optimiser: dict[str, Any]
    schedule: dict[str, Any]
    order: NDArray[np.intp]
    order_rng: Any
    mask_rng: torch.Tensor

    def to_bytes(self) -> bytes:
        """Return it as bytes."""
        written = io.BytesIO()
        values = {name: getattr(self, name) for name in ("step", "net", "optimiser", "schedule", "mask_rng")}
        # numbers of 128 bits, and an array: neither is a tensor, which is all that is read back
        values |= {"order": torch.from_numpy(self.order), "order_rng": json.dumps(self.order_rng)}
        torch.save(values, written)
        return written.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the state of such bytes; no code in them is run. Raises CorruptArtefact for any others."""
        try:
            values = torch.load(io.BytesIO(data), weights_only=True)
            order, order_rng = values.pop("order").numpy(), json.loads(values.pop("order_rng"))
            return cls(order=order, order_rng=order_rng, **values)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
            raise CorruptArtefact(f"this is no state of a fit: {type(error).__name__}") from error
