"""What is run and compared: estimators, and their inference alone."""

from quandary.options import Estimator, ScoringOptions
from quandary_server.bench.scoring.measure import BASE, Run
from quandary_server.inference.generation import EVERY_MEMBER, WITH_DROPOUT, LoadedGeneration
from quandary_server.inference.scores import score_rasters

FULL = ScoringOptions(Estimator.ENSEMBLE_MC_DROPOUT, mc_samples=20)

ESTIMATORS = {BASE: Estimator.SOFTMAX, "mc20": Estimator.MC_DROPOUT, "full": FULL.estimator, "cascade": Estimator.ESCALATE}


def scoring(generation: LoadedGeneration, estimator: Estimator) -> Run:
    """Return what scores rasters, inference and reduction."""
    options = ScoringOptions(estimator, mc_samples=FULL.mc_samples)
    return lambda rasters: score_rasters(generation, rasters, options)


def inference(generation: LoadedGeneration, estimator: Estimator) -> Run:
    """Return what runs the sessions of an estimator's members, and nothing more."""
    seed, masks = generation.seed(None), FULL.mc_samples if estimator in WITH_DROPOUT else None
    draw = generation.draw_members if estimator in EVERY_MEMBER else generation.draw_first
    return lambda rasters: draw(rasters, masks, seed)
