"""The methods that are compared: an estimator, an acquisition function, a plan of the query. Names as in the paper's field."""

from dataclasses import dataclass, replace

from quandary.options import Acquisition, Estimator
from quandary_server.selection.plan import QueryPlan, Strategy
from quandary_server.settings import DEFAULT_PLAN


@dataclass(frozen=True, slots=True)
class Method:
    """How candidates are scored, and which are asked for. `acquisition` None: scores play no part."""

    title: str
    estimator: Estimator
    acquisition: Acquisition | None
    plan: QueryPlan

    @property
    def ensemble(self) -> bool:
        """Whether it takes all members; else it trains, scores and is judged with one."""
        return self.estimator in (Estimator.DEEP_ENSEMBLE, Estimator.ENSEMBLE_MC_DROPOUT)

    @property
    def masked_alone(self) -> bool:
        """Whether its samples differ by their dropout masks alone."""
        return self.estimator is Estimator.MC_DROPOUT


TOP_K = QueryPlan(Strategy.TOP_K)
CLASS_FLOOR, FRAME_GAP_S = 0.3, 1.0

HALF_BY_SCORE = QueryPlan(Strategy.TOP_K, class_floor=CLASS_FLOOR, gap_s=FRAME_GAP_S, chance=0.5)
"""What was served when the experiment was run: half by score, half by chance. On single crops the cover that is served now has
nothing to cover, since an object is a task of its own."""

NEIGHBOUR_GAP_S, NEIGHBOUR_DISTANCE = 0.6, 0.2
"""Crops of one drive are near copies within this time where their embeddings are this near: a frame holds many objects."""


def _mixed(title: str, acquisition: Acquisition, *, class_floor: float = 0.0, chance: float = 0.0) -> Method:
    """Return a mixture that stood for the default query: near copies folded, the rest of its steps as told."""
    plan = QueryPlan(
        Strategy.TOP_K, class_floor=class_floor, gap_s=NEIGHBOUR_GAP_S, max_distance=NEIGHBOUR_DISTANCE, chance=chance
    )
    return Method(f"ensemble x MC, {title}", Estimator.ENSEMBLE_MC_DROPOUT, acquisition, plan)


RANDOM = "random"
DEFAULT = "default"

METHODS: dict[str, Method] = {
    RANDOM: Method("random", Estimator.ENSEMBLE_MC_DROPOUT, None, QueryPlan(Strategy.RANDOM)),
    "softmax_entropy": Method("softmax, entropy", Estimator.SOFTMAX, Acquisition.PREDICTIVE_ENTROPY, TOP_K),
    "mc_entropy": Method("MC-dropout, entropy", Estimator.MC_DROPOUT, Acquisition.PREDICTIVE_ENTROPY, TOP_K),
    "mc_mi": Method("MC-dropout, mutual information", Estimator.MC_DROPOUT, Acquisition.MUTUAL_INFORMATION, TOP_K),
    "ensemble_entropy": Method("ensemble, entropy", Estimator.DEEP_ENSEMBLE, Acquisition.PREDICTIVE_ENTROPY, TOP_K),
    "ensemble_mi": Method("ensemble, mutual information", Estimator.DEEP_ENSEMBLE, Acquisition.MUTUAL_INFORMATION, TOP_K),
    "ensemble_mc_mi": Method(
        "ensemble x MC, mutual information", Estimator.ENSEMBLE_MC_DROPOUT, Acquisition.MUTUAL_INFORMATION, TOP_K
    ),
    "box": Method("ensemble x MC, box alone", Estimator.ENSEMBLE_MC_DROPOUT, Acquisition.BOX_EPISTEMIC, TOP_K),
    "mi_box": Method("ensemble x MC, MI + box", Estimator.ENSEMBLE_MC_DROPOUT, Acquisition.INFORMATION_AND_BOX, TOP_K),
    "mi_box_folded": Method(
        "ensemble x MC, MI + box, drives folded",
        Estimator.ENSEMBLE_MC_DROPOUT,
        Acquisition.INFORMATION_AND_BOX,
        QueryPlan(Strategy.TOP_K, gap_s=FRAME_GAP_S),
    ),
    "objects": Method(
        "likely objects by chance, folded",
        Estimator.ENSEMBLE_MC_DROPOUT,
        Acquisition.INFORMATION_AND_BOX,
        QueryPlan(Strategy.TOP_K, chance=1.0, gap_s=NEIGHBOUR_GAP_S, max_distance=NEIGHBOUR_DISTANCE),
    ),
    "mi_folded": _mixed("MI, folded", Acquisition.MUTUAL_INFORMATION),
    "mi_floor": _mixed("MI, folded, class floor", Acquisition.MUTUAL_INFORMATION, class_floor=CLASS_FLOOR),
    "mi_chance": _mixed("MI, folded, a quarter by chance", Acquisition.MUTUAL_INFORMATION, chance=0.25),
    "mi_floor_chance": _mixed(
        "MI, folded, class floor, a quarter by chance",
        Acquisition.MUTUAL_INFORMATION,
        class_floor=CLASS_FLOOR,
        chance=0.25,
    ),
    "mi_box_floor_chance": _mixed(
        "MI + box, folded, class floor, a quarter by chance",
        Acquisition.INFORMATION_AND_BOX,
        class_floor=CLASS_FLOOR,
        chance=0.25,
    ),
    "k_centre": Method("k-centre (core-set)", Estimator.MC_DROPOUT, None, QueryPlan(Strategy.K_CENTRE)),
    DEFAULT: Method(
        "default query",
        Estimator.ENSEMBLE_MC_DROPOUT,
        Acquisition.INFORMATION_AND_BOX,
        replace(HALF_BY_SCORE, gap_s=NEIGHBOUR_GAP_S, max_distance=NEIGHBOUR_DISTANCE),
    ),
    "default_folded": Method(
        "default query, drives folded",
        Estimator.ENSEMBLE_MC_DROPOUT,
        Acquisition.INFORMATION_AND_BOX,
        HALF_BY_SCORE,
    ),
    "served": Method(
        "the query that is served, on whole frames",
        Estimator.ENSEMBLE_MC_DROPOUT,
        Acquisition.INFORMATION_AND_BOX,
        DEFAULT_PLAN,
    ),
}
