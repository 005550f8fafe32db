"""What the page tells first: the figures that the experiment is held to."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from quandary_server.experiment.report import words
from quandary_server.experiment.report.document import Document, Sample
from quandary_server.experiment.report.html import UNDETERMINED, bullets, paragraph, picture, section, table
from quandary_server.experiment.report.saving_words import NOT_REACHED, count_told, interval_told, place_told, seeds_told
from quandary_server.experiment.report.style import title_of
from quandary_server.experiment.results.headlines import (
    FOLDING,
    HEADLINES,
    HOURS,
    MAIN,
    QUICK,
    QUICK_LEAD,
    REPEATS,
    SAVED_RECALL,
    WORST_ACTIVE,
    Headline,
    is_full,
    most_seeds,
)


def headlines(document: Document, summary: str | None) -> str:
    """Return the figures that the experiment is held to, met or not."""
    rows = [_headline(document, headline) for headline in HEADLINES if _belongs(document, headline)]
    columns = ["figure", "what", "#value", "unit", "behind it", "to reach", "", "known mark"]
    told = table(columns, rows) if rows else ""
    return section("What came of it", picture(summary, words.SUMMARY), _choice(document), told, _reading(document))


def _choice(document: Document) -> str:
    """Return how the method of the headlines was chosen, where there is one: its saving profits by that."""
    best = document.sample(SAVED_RECALL.name)
    if best is None:
        return ""
    among = most_seeds(document.replays[MAIN])
    if len(among) < 2:
        return paragraph(f"The method of the savings below is {title_of(best['method'])}, the only one on all seeds.")
    return paragraph(
        f"The method of the savings below, {title_of(best['method'])}, is the best of {len(among)} by macro recall, chosen on "
        "the same seeds on which its saving is told: that choice flatters it, and other seeds would show somewhat less."
    )


def _belongs(document: Document, headline: Headline) -> bool:
    """Whether an experiment was asked for what a headline tells."""
    if headline is QUICK_LEAD:
        return QUICK in document.replays
    if headline is FOLDING:
        return REPEATS in document.replays
    if headline is HOURS:
        return is_full(document.settings) or document.figure(HOURS.name) is not None
    return MAIN in document.replays


def _headline(document: Document, headline: Headline) -> list[str]:
    found = document.figure(headline.name)
    reach = f"{'at most' if headline.most else 'at least'} {headline.bound:g}"
    if found is None:
        return [headline.name, headline.what, "", headline.unit, "", reach, UNDETERMINED, headline.mark]
    met = "met" if found["met"] else "not met"
    saving = _saving_behind(found["samples"])
    missed = saving is not None and not saving["reached"] and headline is not WORST_ACTIVE
    value = NOT_REACHED if missed else f"{found['value']:.3g}"
    return [headline.name, headline.what, value, headline.unit, _behind(found["samples"]), reach, met, headline.mark]


def _behind(samples: list[Any]) -> str:
    """Return on what a headline stands: the saving with its interval, and seeds."""
    saving = _saving_behind(samples)
    if saving is not None:
        return f"{interval_told(saving)}, {seeds_told(saving)}"
    return count_told(len(samples)) if all(isinstance(sample, float) for sample in samples) else ""


def _saving_behind(samples: list[Any]) -> Sample | None:
    first = next(iter(samples), None)
    return first if isinstance(first, Mapping) and "reached" in first else None


def _reading(document: Document) -> str:
    worst, *unknown = document.samples(WORST_ACTIVE.name) or [None]
    told = []
    if worst is not None:
        what = f"The worst active method is {title_of(worst['method'])}, in {place_told(worst)}"
        most = f", at most {worst['at_most']:z.1%}" if worst["reached"] else ""
        told.append(f"{what}: {interval_told(worst)}{most}, {seeds_told(worst)}.")
    if unknown:
        counts = Counter(title_of(found["method"]) for found in unknown)
        by_method = "; ".join(f"{title}: {count}" for title, count in counts.items())
        told.append(f"{words.NO_UPPER_END} These are {len(unknown)} measures at targets, by method: {by_method}.")
    folded = document.sample(FOLDING.name)
    if folded is not None:
        what = f"Folding, {title_of(folded['method'])} against {title_of(folded['against'])}"
        told.append(f"{what}: saved {interval_told(folded)}, {seeds_told(folded)}.")
    told += [words.UNDETERMINED_MEANS, words.SAVED_MEANS, words.CROSSINGS]
    return bullets(told)
