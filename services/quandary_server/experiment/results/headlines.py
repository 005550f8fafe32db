"""The figures that the experiment is held to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from quandary.options import Estimator
from quandary_server.bench.figures import Figure, at_least, at_most
from quandary_server.experiment.methods import DEFAULT, METHODS, RANDOM, TOP_K
from quandary_server.experiment.results.judgements import Judgements
from quandary_server.experiment.results.measures import CENTRE, CLASS_MEASURES, IOU, MACRO_RECALL
from quandary_server.experiment.results.records import Records, curve_of, own_estimator
from quandary_server.experiment.results.savings import MethodSaving, saving_of

MAIN, REPEATS, QUICK = "main", "repeats", "quick"
"""The replays that headlines are of."""

FOLDED = "default_folded"
SHARE = 0.98


@dataclass(frozen=True, slots=True)
class Headline:
    """What a figure tells, its bar, and the mark that is known for it."""

    name: str
    what: str
    unit: str
    bound: float
    most: bool = False
    mark: str = ""

    def figure(self, value: float, samples: list[Any]) -> Figure:
        """Return the figure of a value."""
        return (at_most if self.most else at_least)(self.name, value, self.unit, self.bound, samples)


SAVED_RECALL = Headline(
    "saved_macro_recall_98_low",
    "labels saved at 98 % of the full pool's macro recall, lower end of the 95 % interval",
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
    "least upper end of the saving's interval over active methods, class measures and targets",
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
    "labels saved at 98 % of macro recall by the stream-aware query over plain top-k, on drives with repeats",
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
    """Yield those that are determined; `hours` once every arm is complete."""
    yield from _saved(records, savings)
    yield from _worst(savings)
    yield from _uncertainty(judgements)
    yield from _folding(records)
    if records.finished and seconds > 0:
        yield HOURS.figure(seconds / 3600, [{"seconds": seconds}])
    yield from _quick(records)


def best_method(records: Records, savings: list[MethodSaving]) -> str | None:
    """Return the method that the headlines are of: the packaged query, else the surest saving of labels in macro recall."""
    if MAIN in records.settings.replays and DEFAULT in records.methods(MAIN):
        return DEFAULT
    found = {s.method: s.saving.low for s in savings if (s.replay, s.measure, s.share) == (MAIN, MACRO_RECALL, SHARE)}
    determined = {method: low for method, low in found.items() if low is not None}
    return max(determined, key=lambda method: determined[method], default=None)


def plain_method(records: Records, replay: str, folded: str) -> str | None:
    """Return the plain top-k of a replay with the estimator and acquisition function of a folded query."""
    wanted = (METHODS[folded].estimator, METHODS[folded].acquisition, TOP_K)
    alike = (m for m in records.methods(replay) if (METHODS[m].estimator, METHODS[m].acquisition, METHODS[m].plan) == wanted)
    return next(alike, None)


def _saved(records: Records, savings: list[MethodSaving]) -> Iterator[Figure]:
    best = best_method(records, savings)
    found = {s.measure: s for s in savings if (s.replay, s.method, s.share) == (MAIN, best, SHARE)}
    for headline, measure in ((SAVED_RECALL, MACRO_RECALL), (SAVED_CENTRE, CENTRE), (SAVED_IOU, IOU)):
        if measure in found and (low := found[measure].saving.low) is not None:
            yield headline.figure(low, [found[measure].sample()])


def _worst(savings: list[MethodSaving]) -> Iterator[Figure]:
    judged = [(s.saving.high, s) for s in savings if s.replay == MAIN and s.measure in CLASS_MEASURES]
    determined = [(high, saving) for high, saving in judged if high is not None]
    if determined:
        high, worst = min(determined, key=lambda pair: pair[0])
        yield WORST_ACTIVE.figure(high, [worst.sample()])


def _uncertainty(judgements: Judgements) -> Iterator[Figure]:
    estimator = Estimator.ENSEMBLE_MC_DROPOUT
    for headline, kind, by in (
        (SPARSIFICATION_CLASS, "class", "predictive_entropy"),
        (SPARSIFICATION_CENTRE, "centre", "total"),
    ):
        gains = judgements.sparsifications(MAIN, estimator, kind, by, "gain")
        if gains:
            yield headline.figure(float(np.mean(gains)), gains)
    errors = judgements.calibrations(MAIN, estimator, "calibrated", "ece")
    if errors:
        yield ECE.figure(float(np.mean(errors)), errors)


def _folding(records: Records) -> Iterator[Figure]:
    if REPEATS not in records.settings.replays or FOLDED not in records.methods(REPEATS):
        return
    plain = plain_method(records, REPEATS, FOLDED)
    found = saving_of(records, REPEATS, FOLDED, MACRO_RECALL, SHARE, against=plain) if plain else None
    if found is not None:
        yield FOLDING.figure(found.saving.value, [found.sample()])


def _quick(records: Records) -> Iterator[Figure]:
    """Yield the sign of the main effect, steadier than a crossing: each method's lead over random at the same rounds."""
    if QUICK not in records.settings.replays:
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
