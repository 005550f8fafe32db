"""How to score: estimator, acquisition function, reduction and what belongs to them."""

from dataclasses import dataclass
from enum import StrEnum

from quandary.errors import InvalidArgument, MeaninglessRequest
from quandary.frames import check_identifier

__all__ = ["Acquisition", "Estimator", "Reduction", "ScoringOptions"]

MAX_MC_SAMPLES = 200
MAX_TOP_K = 100
MAX_SEED = 2**64 - 1
MAX_JITTERED_PROPOSALS = 32


class Estimator(StrEnum):
    """How the class and box distributions are sampled (Feng et al. 2019, arXiv 1901.10609)."""

    SOFTMAX = "softmax"
    MC_DROPOUT = "mc_dropout"
    DEEP_ENSEMBLE = "deep_ensemble"
    ENSEMBLE_MC_DROPOUT = "ensemble_mc_dropout"
    ESCALATE = "escalate"


class Acquisition(StrEnum):
    """What makes an object worth a label; all are turned so that higher is asked for first."""

    PREDICTIVE_ENTROPY = "predictive_entropy"
    MUTUAL_INFORMATION = "mutual_information"
    VARIATION_RATIO = "variation_ratio"
    MARGIN = "margin"
    BOX_EPISTEMIC = "box_epistemic"
    INFORMATION_AND_BOX = "information_and_box"
    TIGHTNESS = "tightness"
    STABILITY = "stability"

    @property
    def needs_samples(self) -> bool:
        """Whether it says nothing about a single sample."""
        return self in _NEED_SAMPLES


_NEED_SAMPLES = {
    Acquisition.MUTUAL_INFORMATION,
    Acquisition.VARIATION_RATIO,
    Acquisition.BOX_EPISTEMIC,
    Acquisition.INFORMATION_AND_BOX,
}


class Reduction(StrEnum):
    """How the scores of a frame's objects become the score of the frame; a frame without objects scores 0."""

    MAX = "max"
    MEAN = "mean"
    SUM = "sum"
    TOP_K_MEAN = "top_k_mean"


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How to score; the defaults are those that rank the queue.

    acquisition: None is predictive entropy for SOFTMAX and information-and-box for the others. seed: None is the generation's
    own. generation: id of the one that must answer, empty for the current. escalate_share: for ESCALATE, the share of the
    generation's control crops that would go on to the full estimator. Raises InvalidArgument for a value out of bounds,
    MeaninglessRequest for an acquisition function that needs samples asked of SOFTMAX, or STABILITY without jittered proposals.
    """

    estimator: Estimator = Estimator.ENSEMBLE_MC_DROPOUT
    acquisition: Acquisition | None = None
    reduction: Reduction = Reduction.MEAN
    top_k: int = 3
    mc_samples: int = 20
    seed: int | None = None
    generation: str = ""
    include_embedding: bool = False
    include_objects: bool = True
    jittered_proposals: int = 0
    escalate_share: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise InvalidArgument.of("top_k", self.top_k, f"1 to {MAX_TOP_K}")
        if not 2 <= self.mc_samples <= MAX_MC_SAMPLES:
            raise InvalidArgument.of("mc_samples", self.mc_samples, f"2 to {MAX_MC_SAMPLES}")
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise InvalidArgument.of("seed", self.seed, "0 to 2^64 - 1")
        if self.generation:
            check_identifier("generation", self.generation)
        if not 0 <= self.jittered_proposals <= MAX_JITTERED_PROPOSALS:
            raise InvalidArgument.of("jittered_proposals", self.jittered_proposals, f"0 to {MAX_JITTERED_PROPOSALS}")
        if not 0 < self.escalate_share <= 1:
            raise InvalidArgument.of("escalate_share", self.escalate_share, "in (0, 1]")
        if self.acquisition is Acquisition.STABILITY and not self.jittered_proposals:
            raise MeaninglessRequest.of("jittered_proposals", 0, "at least 1 with STABILITY")
        if self.estimator is Estimator.SOFTMAX and self.acquisition is not None and self.acquisition.needs_samples:
            raise MeaninglessRequest.of("acquisition", self.acquisition.name, "one that needs no samples with SOFTMAX")

    @property
    def effective_acquisition(self) -> Acquisition:
        """The acquisition function, the default resolved."""
        if self.acquisition is not None:
            return self.acquisition
        softmax = self.estimator is Estimator.SOFTMAX
        return Acquisition.PREDICTIVE_ENTROPY if softmax else Acquisition.INFORMATION_AND_BOX
