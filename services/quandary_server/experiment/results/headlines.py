"""The figures that the experiment is held to. Each is told once all seeds that were asked for are complete, and not before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from quandary.options import Estimator
from quandary_server.bench.figures import Figure, at_least, at_most
from quandary_server.experiment.methods import METHODS, RANDOM, TOP_K
from quandary_server.experiment.results.judgements import Judgements
from quandary_server.experiment.results.measures import CENTRE, CLASS_MEASURES, IOU, MACRO_RECALL
from quandary_server.experiment.results.records import Records, curve_of, own_estimator
from quandary_server.experiment.results.savings import MethodSaving, saving_of
from quandary_server.experiment.settings import FULL, ExperimentSettings, ReplaySettings, load_experiment

MAIN, REPEATS, QUICK = "main", "repeats", "quick"
"""The replays that headlines are of."""

FOLDED = "mi_box_folded"
SHARE = 0.98


@dataclass(frozen=True, slots=True)
class Headline:
    """What a figure tells, its bar, and the mark that is known for it.

    Left out, it is undetermined: a seed is not complete, or there are too few to tell. A saving at a target that the method
    does not reach is none, says so in its unit, and has not met its bar.
    """

    name: str
    what: str
    unit: str
    bound: float
    most: bool = False
    mark: str = ""

    def figure(self, value: float, samples: list[Any], caution: str = "") -> Figure:
        """Return the figure of a value; caution: what must stand behind its unit."""
        return (at_most if self.most else at_least)(self.name, value, self.unit + caution, self.bound, samples)


SAVED_RECALL = Headline(
    "saved_macro_recall_98_low",
    "labels saved at 98 % of the full pool's macro recall by the best method on all seeds, lower end of the 95 % interval",
    "share of labels",
    0.60,
    mark="paper: up to 0.60",
)
SAVED_CENTRE = Headline(
    "saved_centre_98_low",
    "labels saved at the full pool's mean centre error / 0.98, same method, lower end",
    "share of labels",
    0.40,
    mark="paper: little; Kao 2018: up to 0.25",
)
SAVED_IOU = Headline(
    "saved_iou_98_low", "labels saved at 98 % of the full pool's mean IoU, same method, lower end", "share of labels", 0.40
)
WORST_ACTIVE = Headline(
    "worst_active_saving_high",
    "least upper end of the saving's interval over active methods, class measures and targets; one that does not reach the "
    "target needs at the least one label more than its last budget, and where random needed more than that it is left out "
    "and counted",
    "share of labels",
    0.0,
    mark="paper: active is always better",
)
SPARSIFICATION_CLASS = Headline(
    "sparsification_class",
    "classification error by predictive entropy, ensemble x MC",
    "1 - AUSE / AUSE of random",
    0.6,
    mark="simulated ideal: 0.72 to 0.81",
)
SPARSIFICATION_CENTRE = Headline(
    "sparsification_centre",
    "centre error by total variance, ensemble x MC",
    "1 - AUSE / AUSE of random",
    0.4,
    mark="self-test, true sigma: 0.73",
)
ECE = Headline(
    "ece",
    "expected calibration error after calibration, ensemble x MC",
    "share",
    0.03,
    most=True,
    mark="literature: 0.02 to 0.03",
)
FOLDING = Headline(
    "saved_by_folding",
    "labels saved at 98 % of macro recall by top-k that folds drives and does nothing else over plain top-k, the same scores "
    "for both, on drives with repeats",
    "share of labels",
    0.30,
)
HOURS = Headline("hours", "the full experiment, all runs together", "h", 8.0, most=True)
QUICK_LEAD = Headline(
    "quick_lead",
    "macro recall of the active methods above random at the same labels, mean over the rounds after the first",
    "share",
    0.0,
)

HEADLINES = (
    *(SAVED_RECALL, SAVED_CENTRE, SAVED_IOU, WORST_ACTIVE),
    *(SPARSIFICATION_CLASS, SPARSIFICATION_CENTRE, ECE, FOLDING, HOURS, QUICK_LEAD),
)


def headline_figures(records: Records, savings: list[MethodSaving], judgements: Judgements, seconds: float) -> Iterator[Figure]:
    """Yield those that are determined; `hours` of the packaged full experiment alone, once all of it is done."""
    yield from _saved(records, savings)
    yield from _worst(records, savings)
    yield from _uncertainty(records, judgements)
    yield from _folding(records)
    if is_full(records.settings) and records.finished and seconds > 0:
        yield HOURS.figure(seconds / 3600, [{"seconds": seconds}])
    yield from _quick(records)


def is_full(settings: ExperimentSettings) -> bool:
    """Whether an experiment is the packaged full one, and no part of it: the bar of the hours is that one's."""
    return settings == load_experiment(FULL)


def most_seeds(replay: ReplaySettings) -> list[str]:
    """Return the active methods of a replay that are asked for on the most seeds: the best is one of them."""
    asked = {method: seeds for method, seeds in replay.methods.items() if method != RANDOM}
    return [method for method, seeds in asked.items() if seeds == max(asked.values())]


def best_method(records: Records, savings: list[MethodSaving]) -> str | None:
    """Return the method that the headlines are of: of those asked for on the most seeds, the surest saving in macro recall.

    None until all of those, and random sampling, are complete.
    """
    if MAIN not in records.settings.replays:
        return None
    most = most_seeds(records.settings.replays[MAIN])
    if not records.all_complete(MAIN, RANDOM, *most):
        return None
    found = {s.method: s.saving.low for s in savings if (s.replay, s.measure, s.share) == (MAIN, MACRO_RECALL, SHARE)}
    determined = {method: low for method in most if (low := found.get(method)) is not None}
    return max(determined, key=lambda method: determined[method], default=None)


def plain_method(records: Records, replay: str, folded: str) -> str | None:
    """Return the plain top-k of a replay with the estimator and acquisition function of a folded query."""
    wanted = (METHODS[folded].estimator, METHODS[folded].acquisition, TOP_K)
    alike = (m for m in records.methods(replay) if (METHODS[m].estimator, METHODS[m].acquisition, METHODS[m].plan) == wanted)
    return next(alike, None)


def _saved(records: Records, savings: list[MethodSaving]) -> Iterator[Figure]:
    best = best_method(records, savings)
    if best is None:
        return
    found = {s.measure: s for s in savings if (s.replay, s.method, s.share) == (MAIN, best, SHARE) and not s.left_out}
    for headline, measure in ((SAVED_RECALL, MACRO_RECALL), (SAVED_CENTRE, CENTRE), (SAVED_IOU, IOU)):
        if measure in found and (low := found[measure].saving.low) is not None:
            yield headline.figure(low, [found[measure].sample()], found[measure].caution)


def _worst(records: Records, savings: list[MethodSaving]) -> Iterator[Figure]:
    """Yield the worst saving of all active methods; samples are the worst, and then those of which nothing is known."""
    judged = [s for s in savings if s.replay == MAIN and s.measure in CLASS_MEASURES]
    if not judged or not records.all_complete(MAIN) or any(s.left_out for s in judged):
        return
    known = [(s.saving.at_most, s) for s in judged if s.saving.at_most is not None]
    if known:
        most, worst = min(known, key=lambda pair: pair[0])
        yield WORST_ACTIVE.figure(most, [worst.sample(), *(s.sample() for s in judged if s.saving.at_most is None)])


def _uncertainty(records: Records, judgements: Judgements) -> Iterator[Figure]:
    """Yield how right the uncertainty is, where every seed of random sampling was judged and determines it."""
    if MAIN not in records.settings.replays:
        return
    estimator, seeds = Estimator.ENSEMBLE_MC_DROPOUT, records.settings.replays[MAIN].methods.get(RANDOM, 0)
    for headline, kind, by in (
        (SPARSIFICATION_CLASS, "class", "predictive_entropy"),
        (SPARSIFICATION_CENTRE, "centre", "total"),
    ):
        gains = judgements.sparsifications(MAIN, estimator, kind, by, "gain")
        if gains and len(gains) >= seeds:
            yield headline.figure(float(np.mean(gains)), gains)
    errors = judgements.calibrations(MAIN, estimator, "calibrated", "ece")
    if errors and len(errors) >= seeds:
        yield ECE.figure(float(np.mean(errors)), errors)


def _folding(records: Records) -> Iterator[Figure]:
    if REPEATS not in records.settings.replays or FOLDED not in records.methods(REPEATS):
        return
    plain = plain_method(records, REPEATS, FOLDED)
    if plain is None or not records.all_complete(REPEATS, RANDOM, plain, FOLDED):
        return
    found = saving_of(records, REPEATS, FOLDED, MACRO_RECALL, SHARE, against=plain)
    if found is not None and not found.left_out:
        yield FOLDING.figure(found.saving.value, [found.sample()], found.caution)


def _quick(records: Records) -> Iterator[Figure]:
    """Yield the sign of the main effect, steadier than a crossing: each method's lead over random at the same rounds."""
    if QUICK not in records.settings.replays or not records.all_complete(QUICK):
        return
    leads = [
        {"method": method, "seed": seed, "lead": float((ours.values - theirs.values[: len(ours.values)])[1:].mean())}
        for method in records.methods(QUICK)
        if method != RANDOM
        for seed, arm in records.complete(QUICK, method).items()
        if seed in (random := records.complete(QUICK, RANDOM))
        and (ours := curve_of(arm, own_estimator(method), MACRO_RECALL)) is not None
        and (theirs := curve_of(random[seed], own_estimator(method), MACRO_RECALL)) is not None
        and len(ours.values) > 1
    ]
    if leads:
        yield QUICK_LEAD.figure(float(np.mean([lead["lead"] for lead in leads])), leads)
