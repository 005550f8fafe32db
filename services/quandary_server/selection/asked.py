"""What a query answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quandary_server.selection.ranking import Order


@dataclass(frozen=True, eq=False)
class Asked:
    """picks (K,): indices of candidates, first wanted first.

    under (N,): what each candidate is folded under, -1 for none; a row of the taken (M,) and then the candidates, as
    `folding.siblings` counts them.
    """

    picks: Order
    under: NDArray[np.intp]
