"""What the detector's study tells: figures in the one shape, and rows of a table made of them alone."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from quandary_server.bench.figures import Figure, reported
from quandary_server.experiment.study.shown import shortened, shown
from quandary_server.experiment.study.trials import COSTS, KITTI, MEASURES, SIMULATED, StudySettings, Trial
from quandary_server.experiment.study.variants import DEFAULT, Variant

UNITS = {
    "macro_recall": "share",
    "accuracy": "share",
    "nll": "nats",
    "mean_iou": "share",
    "median_centre_error": "m",
    "step_ms": "ms of CPU per training step",
    "crop_ms": "ms of CPU per crop",
}

COLUMNS = (
    "~variant",
    "#macro recall",
    "#accuracy",
    "#NLL (nats)",
    "#mean IoU",
    "#median centre error (m)",
    "#CPU ms a step",
    "#CPU ms a crop",
)
MEASURE_FORMATS, COST_FORMATS = (".3f", ".3f", ".3f", ".3f", ".2f"), (".1f", ".3f")


def study_figures(settings: StudySettings, trials: Sequence[Trial]) -> list[Figure]:
    """Return the figures: for every variant the mean over seeds of each measure, with the seeds' own values, and its cost."""
    return [shortened(figure) for figure in _all(settings, trials)]


def study_rows(settings: StudySettings, figures: Sequence[Figure], source: str) -> list[list[str]]:
    """Return the rows of a source's table under COLUMNS, the default variant first and marked."""
    return [
        [
            _told(variant),
            *shown(figures, [f"{_prefix(variant.name, source)}_{m}" for m in MEASURES], MEASURE_FORMATS),
            *shown(figures, [f"{variant.name}_{c}" for c in COSTS], COST_FORMATS),
        ]
        for variant in settings.variants
    ]


def _all(settings: StudySettings, trials: Sequence[Trial]) -> Iterator[Figure]:
    yield reported("study", float(len(settings.variants)), "variants", [_described(settings)])
    for variant in settings.variants:
        own = [trial for trial in trials if trial.variant == variant.name]
        for source in settings.sources:
            for measure in MEASURES:
                values = [trial.found[measure] for trial in own if trial.source == source]
                yield reported(f"{_prefix(variant.name, source)}_{measure}", statistics.fmean(values), UNITS[measure], values)
        for cost in COSTS:
            values = [trial.found[cost] for trial in own]
            yield reported(f"{variant.name}_{cost}", statistics.median(values), UNITS[cost], values)


def _described(settings: StudySettings) -> dict[str, object]:
    default = {**Variant(DEFAULT).net.model_dump(), **Variant(DEFAULT).fit.model_dump()}
    return {
        "crops": settings.crops,
        "seeds": settings.seeds,
        "mc_samples": settings.mc_samples,
        "fleet": asdict(settings.fleet),
        "sources": list(settings.sources),
        "variants": {v.name: dict(v.changes) or default for v in settings.variants},
    }


def _told(variant: Variant) -> str:
    if variant.changes:
        return ", ".join(f"{name} {_value(value)}" for name, value in variant.changes.items())
    net, fit = variant.net, variant.fit
    return (
        f"DEFAULT: side {net.side}, channels {_value(net.channels)}, hidden {net.hidden}, dropout {net.dropout:g}, "
        f"box_weight {fit.box_weight:g}, learning_rate {fit.learning_rate:g}, batch {fit.batch}, steps {fit.steps}"
    )


def _value(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _prefix(variant: str, source: str) -> str:
    return variant if source == SIMULATED else f"{variant}_{source}"


TITLES = {SIMULATED: "simulated drives", KITTI: "real KITTI frames"}
