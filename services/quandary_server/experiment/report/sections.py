"""What the page tells, section by section."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.report import words
from quandary_server.experiment.report.document import Document, Sample, is_noisy, is_real
from quandary_server.experiment.report.html import (
    UNDETERMINED,
    bullets,
    paragraph,
    picture,
    preformatted,
    section,
    subsection,
    table,
)
from quandary_server.experiment.report.saving_words import (
    NOT_REACHED,
    count_told,
    interval_told,
    needed_told,
    place_told,
    seeds_told,
)
from quandary_server.experiment.report.style import title_of
from quandary_server.experiment.results.headlines import (
    FOLDING,
    HEADLINES,
    HOURS,
    MAIN,
    QUICK,
    QUICK_LEAD,
    REPEATS,
    WORST_ACTIVE,
    Headline,
)
from quandary_server.experiment.results.measures import CENTRE, IOU, MACRO_RECALL, MEASURES, SAVED
from quandary_server.experiment.settings import PoolSettings

Pictures = Mapping[str, str]


def asked_for(document: Document) -> str:
    """Return what the experiment was asked to do, and how much of it is done."""
    rows = []
    for name, replay in document.replays.items():
        counts = document.sample(f"complete_{name}") or {}
        complete, asked = sum(count[0] for count in counts.values()), sum(replay.methods.values())
        methods = ", ".join(f"{title_of(method)} ({seeds})" for method, seeds in replay.methods.items())
        budgets = ", ".join(f"{budget:,}" for budget in replay.budgets) + (", then the whole pool" if replay.full_pool else "")
        rows.append(
            [f"{name}: {replay.title}", pool_told(replay.pool), replay.unit, methods, budgets, f"{complete} of {asked}"]
        )
    columns = ["replay", "pool", "asked for by", "methods (seeds)", "labels at which a net is trained", "#arms complete"]
    made = (
        f"Ensembles have {document.settings.members} members, MC-dropout {document.settings.mc_samples} masks. Made by "
        f"`{document.content['command']}` at commit {document.content['commit']} on {document.content['machine']}."
    )
    if other := document.value("other_code"):
        made += f" Arms are of {other + 1:.0f} versions of the code."
    return section("What was asked", paragraph(words.ASKED), paragraph(made), table(columns, rows))


def pool_told(pool: PoolSettings) -> str:
    """Return a pool in words."""
    source = {"fleet": "a simulated fleet", "folder": "real frames (KITTI layout)", "snapshot": "labels from the store"}
    told = source[pool.source.kind]
    if pool.proposals.value != "labels":
        told += f", proposals: published {pool.proposals.value}"
    noise = pool.noise
    if noise.shift or noise.scale or noise.missed:
        told += f", 2D boxes shifted by {noise.shift:g}, scaled by {noise.scale:g}, {noise.missed:.0%} missed"
    return told


def headlines(document: Document, summary: str | None) -> str:
    """Return the figures that the experiment is held to, met or not."""
    rows = [_headline(document, headline) for headline in HEADLINES if _belongs(document, headline)]
    columns = ["figure", "what", "#value", "unit", "behind it", "to reach", "", "known mark"]
    return section("What came of it", picture(summary, words.SUMMARY), table(columns, rows), _reading(document))


def _belongs(document: Document, headline: Headline) -> bool:
    """Whether an experiment was asked for what a headline tells."""
    if headline is QUICK_LEAD:
        return QUICK in document.replays
    if headline is FOLDING:
        return REPEATS in document.replays
    return headline is HOURS or MAIN in document.replays


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


def replay_told(document: Document, replay: str, pictures: Pictures) -> str:
    """Return the curves, savings, classes and costs of the replay that is told of first."""
    settings = document.replays[replay]
    return section(
        f"Labels saved: {settings.title}",
        paragraph(words.FEW_OBJECTS) if is_real(settings.pool) else "",
        picture(pictures.get(f"curves_{replay}"), words.CURVES),
        picture(pictures.get(f"estimators_{replay}"), words.BY_ESTIMATOR),
        picture(pictures.get(f"savings_{replay}"), words.SAVINGS),
        subsection("At every target", _savings(document, replay)),
        subsection("In hours and euros", _costs(document, replay)),
        subsection("Classes", _classes(document, replay), picture(pictures.get(f"classes_{replay}"), words.CLASSES)),
        subsection("What a round takes", _times(document, replay)),
    )


def _savings(document: Document, replay: str) -> str:
    rows = []
    for method in document.replays[replay].methods:
        if method == RANDOM:
            continue
        for measure in SAVED:
            for share in document.settings.targets:
                found = document.saving(replay, method, measure.name, share)
                head = [title_of(method), measure.title, f"{share:.4g}"]
                rows.append(head + ([UNDETERMINED, "", "", "", ""] if found is None else _saving_cells(found)))
    columns = ["method", "measure", "#target", "#saved (95 % interval)", "#its labels", "#random's", "reached", "#seeds"]
    return table(columns, rows)


def _saving_cells(found: Sample) -> list[str]:
    reached = "yes" if found["reached"] else "no"
    if not found["random_reached"]:
        reached += "; random not" + (": lower bound" if found["reached"] else "")
    ours = needed_told(found["method_labels"], found["reached"])
    theirs = needed_told(found["random_labels"], found["random_reached"])
    return [interval_told(found), ours, theirs, reached, seeds_told(found)]


def _costs(document: Document, replay: str) -> str:
    cost = document.settings.cost
    text = (
        f"A frame costs {cost.seconds_per_frame:g} s, a crop {cost.seconds_per_crop:g} s, a 3D box {cost.seconds_per_box:g} s; "
        f"an hour {cost.euros_per_hour:g} euros. Methods differ in how many objects they ask for, so that hours are saved in "
        f"another share than labels. {words.COSTS} At 98 %:"
    )
    rows = []
    for method in document.replays[replay].methods:
        for measure in (MACRO_RECALL, CENTRE, IOU):
            found = document.saving(replay, method, measure.name, 0.98)
            if found is not None:
                rows.append([title_of(method), measure.title, *_cost_cells(found)])
    if not rows:
        return paragraph("No saving is determined yet, so no cost is.")
    saved = ["#hours saved", "#euros saved", "#labels saved (95 % interval)", "#seeds"]
    return paragraph(text) + table(["method", "measure", "#hours", "#random's hours", *saved], rows)


def _cost_cells(found: Sample) -> list[str]:
    hours, random = found["hours"], found["random_hours"]
    spent = [needed_told(hours, found["reached"], 1), needed_told(random, found["random_reached"], 1)]
    saved = [NOT_REACHED, NOT_REACHED]
    if found["reached"]:
        saved = [f"{1 - hours / random:.1%}" if random else UNDETERMINED, f"{found['euros_saved']:,.0f}"]
    return [*spent, *saved, interval_told(found), seeds_told(found)]


def _classes(document: Document, replay: str) -> str:
    pool = document.value(f"classes_{replay}_pool")
    rows = [
        [title_of(method), f"{value:.2f}"]
        for method in document.methods(replay)
        if (value := document.value(f"classes_{replay}_{method}")) is not None
    ]
    if pool is not None:
        rows.insert(0, ["the whole pool", f"{pool:.2f}"])
    return table(["asked for by", "#effective number of classes"], rows) if rows else paragraph(f"Classes: {UNDETERMINED}.")


def _times(document: Document, replay: str) -> str:
    rows = []
    for method in document.methods(replay):
        rounds = document.samples(f"round_seconds_{replay}_{method}")
        if rounds:
            wall, cpu = (sum(found[i] for found in rounds) / len(rounds) for i in (2, 3))
            rows.append([title_of(method), f"{len(rounds)}", f"{wall:.1f}", f"{cpu:.1f}"])
    return paragraph(words.TIMES) + table(["method", "#rounds", "#wall seconds per round", "#CPU seconds per round"], rows)


def other_replays(document: Document, pictures: Pictures) -> str:
    """Return the replays besides the first: noisy proposals, real frames, whatever else there is."""
    groups: dict[str, list[str]] = {"Noisy proposals": [], "Real frames": [], "Other replays": []}
    for name, replay in document.replays.items():
        if name == document.first:
            continue
        title = "Real frames" if is_real(replay.pool) else "Noisy proposals" if is_noisy(replay.pool) else "Other replays"
        groups[title].append(_other(document, name, pictures))
    real = paragraph(words.FEW_OBJECTS)
    return "\n".join(section(title, real if title == "Real frames" else "", *parts) for title, parts in groups.items() if parts)


def _other(document: Document, replay: str, pictures: Pictures) -> str:
    settings = document.replays[replay]
    told = [f"The pool: {pool_told(settings.pool)}"]
    if settings.pretraining is not None:
        told.append(f"every training has crops of {pool_told(settings.pretraining)} besides")
    points = document.curve(replay, RANDOM, MACRO_RECALL.name)
    if points and settings.full_pool:
        told.append(f"the whole pool is {points[-1][0]:,.0f} crops")
        whole = (f"{m.title} {found[-1][1]:.3g}" for m in MEASURES if (found := document.curve(replay, RANDOM, m.name)))
        told.append(f"it gives {', '.join(whole)}")
    return subsection(
        f"{replay}: {settings.title}",
        paragraph("; ".join(told) + "."),
        picture(pictures.get(f"curves_{replay}"), words.CURVES),
        picture(pictures.get(f"savings_{replay}"), words.SAVINGS),
        _savings(document, replay),
        picture(pictures.get(f"classes_{replay}"), words.CLASSES),
    )


def papers_and_ours() -> str:
    """Return what is the paper's and what is ours."""
    return section("What is the paper's and what is ours", paragraph(words.PAPER), paragraph(words.OURS))


def settings_told(document: Document) -> str:
    """Return the settings, as the YAML that asks for the same again."""
    text = yaml.safe_dump(document.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    return section("Settings", preformatted(text))
