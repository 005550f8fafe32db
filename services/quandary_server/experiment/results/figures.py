"""All figures of an experiment, in the one shape: what it is held to, and what it tells besides."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from quandary_server.bench.figures import Figure, reported
from quandary_server.experiment.folder import ExperimentFolder
from quandary_server.experiment.results.curves import (
    class_figures,
    completeness_figure,
    curve_figures,
    judged_classes_figure,
    time_figures,
)
from quandary_server.experiment.results.headlines import headline_figures
from quandary_server.experiment.results.judgements import Judgements, held_out_figures, judgement_figures
from quandary_server.experiment.results.method_judgements import method_judgement_figures
from quandary_server.experiment.results.records import Records
from quandary_server.experiment.results.savings import MethodSaving, all_savings

DIGITS = 5


def experiment_figures(folder: ExperimentFolder) -> list[Figure]:
    """Return every figure of what was run so far, to 5 significant digits: the headlines first.

    What is undetermined is left out; every value is finite. README, page and pictures are made of these figures alone. Raises
    NotFound where there is no experiment, and CorruptArtefact for records that cannot be read.
    """
    return [_short(figure) for figure in _all(folder)]


def _all(folder: ExperimentFolder) -> Iterator[Figure]:
    records = Records(folder)
    savings, judgements = list(all_savings(records)), Judgements(records)
    settings, seconds, judged = records.settings, folder.seconds(), folder.judged_classes()

    yield from headline_figures(records, savings, judgements, seconds)

    yield reported("experiment", float(len(settings.replays)), "replays", [settings.model_dump(mode="json")])
    yield reported("seconds_so_far", seconds, "s")
    if other := folder.other_code():
        yield reported("other_code", float(len(other)), "versions of the code besides the first (--any-code)", other)
    yield from (_saved(saving) for saving in savings)
    for replay in settings.replays:
        yield completeness_figure(records, replay)
        yield from curve_figures(records, replay)
        yield from judged_classes_figure(judged, replay)
        yield from class_figures(records, replay)
        yield from time_figures(records, replay)
    yield from judgement_figures(judgements)
    for replay in settings.replays:
        yield from method_judgement_figures(records, replay)
    yield from held_out_figures(folder.all_held_out())


def _saved(saving: MethodSaving) -> Figure:
    return reported(saving.name, saving.saving.value, f"share of labels{saving.caution}", [saving.sample()])


def _short(figure: Figure) -> Figure:
    """Return a figure with its numbers shortened; that it meets its bar was decided before."""
    return replace(figure, value=rounded(figure.value), samples=rounded(list(figure.samples)))


def rounded(value: Any) -> Any:
    """Return numbers, in lists and dictionaries too, to 5 significant digits; raises ValueError for one that is not finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a figure must be finite, got {value}")
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return value
