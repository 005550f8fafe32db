"""What a candidate must know to be asked with ESCALATE, and what that costs in rank."""

from dataclasses import replace

from quandary.options import Estimator, ScoringOptions
from quandary_server.detector.examples import Examples
from quandary_server.evaluation.ranking import top_overlap
from quandary_server.inference.cascade import calibrate_cascade
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.inference.scores import score_many
from quandary_server.trainer.candidate import Candidate

MIN_CONTROL_CROPS = 50
"""With fewer the thresholds come from the training crops: the nets are surer of these, so that more than asked escalate."""

MIN_CROPS_FOR_OVERLAP = 100


def with_thresholds(candidate: Candidate, control: Examples, training: Examples) -> Candidate:
    """Return the candidate with the thresholds that its control crops give, or its training crops where those are few."""
    crops = control if len(control) >= MIN_CONTROL_CROPS else training
    record = calibrate_cascade(candidate.load(), crops.rasters)
    return replace(candidate, draft=candidate.draft.model_copy(update={"cascade": record}))


def cascade_metrics(generation: LoadedGeneration, control: Examples, options: ScoringOptions) -> dict[str, float]:
    """Return the share of control crops that ESCALATE would send on, and how much of the full top decile it keeps.

    Empty for fewer than 100 crops, which have no decile to speak of.
    """
    if len(control) < MIN_CROPS_FOR_OVERLAP:
        return {}
    cascade, full = (
        score_many(generation, control.rasters, replace(options, estimator=estimator))
        for estimator in (Estimator.ESCALATE, Estimator.ENSEMBLE_MC_DROPOUT)
    )
    share = 1.0 if cascade.escalated is None else float(cascade.escalated.mean())
    return {"cascade_share": share, "cascade_top_decile_overlap": top_overlap(cascade.score, full.score)}
