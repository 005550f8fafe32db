"""What the page tells of the uncertainty."""

from collections.abc import Mapping, Sequence

from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.report import words
from quandary_server.experiment.report.document import Document
from quandary_server.experiment.report.html import UNDETERMINED, paragraph, picture, section, subsection, table
from quandary_server.experiment.report.style import ESTIMATOR_TITLES
from quandary_server.experiment.report.uncertainty_plots import KIND_TITLES

Pictures = Mapping[str, str]


def uncertainty_told(document: Document, pictures: Pictures) -> str:
    """Return whether the uncertainty is right, of every replay that was judged."""
    parts = []
    for replay in document.replays:
        if not any(document.figure(f"calibration_{replay}_{estimator.value}_raw") for estimator in ESTIMATOR_TITLES):
            continue
        parts.append(
            subsection(
                document.replays[replay].title,
                picture(
                    pictures.get(f"sparsification_{replay}"),
                    words.SPARSIFICATION,
                ),
                _sparsifications(document, replay),
                picture(pictures.get(f"reliability_{replay}"), words.RELIABILITY),
                _calibrations(document, replay),
                picture(pictures.get(f"coverage_{replay}"), words.COVERAGE),
                _coverages(document, replay),
                _by_method(document, replay),
            )
        )
    if not parts:
        parts = [paragraph(f"{UNDETERMINED.capitalize()}: no net of a whole pool was judged.")]
    return section("Is the uncertainty right?", paragraph(words.JUDGED), *parts)


def _sparsifications(document: Document, replay: str) -> str:
    rows = []
    for kind, kind_title in KIND_TITLES.items():
        for estimator, title in ESTIMATOR_TITLES.items():
            prefix = f"sparsification_{replay}_{estimator.value}_{kind}_"
            found = document.named(prefix)
            for name in found:
                sample = document.sample(name) or {}
                numbers = [f"{sample[number]:.3f}" for number in ("ause", "aurg", "gain")]
                by = name.removeprefix(prefix).replace("_", " ")
                rows.append([kind_title, title, by, *numbers, f"{len(sample['gains'])}"])
            if not found and document.figure(f"determined_{replay}_{estimator.value}_{kind}"):
                rows.append([kind_title, title, UNDETERMINED, "", "", "", "0"])
    return table(["error", "estimator", "ranked by", "#AUSE", "#AURG", "#gain", "#seeds"], rows)


def _calibrations(document: Document, replay: str) -> str:
    rows = []
    for estimator, title in ESTIMATOR_TITLES.items():
        for stage, told in (("raw", "as predicted"), ("calibrated", "after a temperature")):
            sample = document.sample(f"calibration_{replay}_{estimator.value}_{stage}")
            if sample is not None:
                numbers = [f"{sample[name]:.3f}" for name in ("ece", "nll", "brier", "accuracy", "temperature")]
                rows.append([title, told, *numbers])
    return table(["estimator", "", "#ECE", "#NLL (nats)", "#Brier", "#accuracy", "#temperature"], rows)


def _coverages(document: Document, replay: str) -> str:
    rows: list[Sequence[str]] = []
    levels: list[str] = []
    for estimator, title in ESTIMATOR_TITLES.items():
        for stage, told in (("raw", "as predicted"), ("scaled", "scaled on control drives")):
            sample = document.sample(f"coverage_{replay}_{estimator.value}_{stage}")
            if sample is not None:
                levels = list(sample["levels"])
                shares = [f"{sum(values) / len(values):.1%}" for values in sample["levels"].values()]
                rows.append([title, told, *shares, f"{sum(sample['nll']) / len(sample['nll']):.3f}"])
    columns = ["estimator", "variances", *(f"#inside {float(level):.0%}" for level in levels), "#NLL (mean of parameters)"]
    return table(columns, rows) if rows else ""


def _by_method(document: Document, replay: str) -> str:
    """Return AUSE by kind of error and ECE, by method, beside random sampling's with as many labels."""
    rows = []
    for method in document.replays[replay].methods:
        estimator = METHODS[method].estimator
        where = f"{replay}_{method}" if method != RANDOM else f"{replay}_{RANDOM}_{estimator.value}"
        ece = document.sample(f"ece_{where}")
        if ece is None:
            continue
        cells = [METHODS[method].title, ESTIMATOR_TITLES[estimator], f"{ece['labels']:,.0f}", f"{ece['seeds']}"]
        for figure in (*(f"ause_{{}}_{kind}" for kind in KIND_TITLES), "ece_{}"):
            told = document.value(figure.format(where))
            chance = document.value(figure.format(f"{replay}_{RANDOM}_{estimator.value}"))
            cells.append(" / ".join(UNDETERMINED if value is None else f"{value:.3f}" for value in (told, chance)))
        rows.append(cells)
    columns = ["method", "judged with", "#labels", "#seeds", *(f"#AUSE, {title}" for title in KIND_TITLES.values()), "#ECE"]
    return paragraph(words.BY_METHOD) + table(columns, rows) if rows else ""


def out_of_distribution(document: Document, pictures: Pictures) -> str:
    """Return how well scores tell classes that training never saw."""
    settings = document.settings.held_out
    if settings is None:
        return ""
    rows = []
    for estimator, title in ESTIMATOR_TITLES.items():
        prefix = f"auroc_{estimator.value}_"
        for name in document.named(prefix):
            found = {sample["class"]: f"{sample['value']:.3f}" for sample in document.samples(name)}
            cells = [found.get(class_name, UNDETERMINED) for class_name in settings.classes]
            rows.append([title, name.removeprefix(prefix).replace("_", " "), *cells, f"{document.value(name):.3f}"])
    text = (
        f"Nets trained without {', '.join(settings.classes)} (one at a time, {settings.seeds} seeds each): the probability "
        f"that a crop of the class never seen scores above one of the others. 0.5 tells nothing."
    )
    if not rows:
        return section("A class never seen", paragraph(text), paragraph(f"{UNDETERMINED.capitalize()}: not run yet."))
    columns = ["estimator", "score", *(f"#{name}" for name in settings.classes), "#mean"]
    return section(
        "A class never seen", paragraph(text), picture(pictures.get("held_out"), words.HELD_OUT), table(columns, rows)
    )
