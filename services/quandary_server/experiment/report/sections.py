"""What the page tells, section by section."""

from collections.abc import Mapping

import yaml

from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.report import words
from quandary_server.experiment.report.document import Document, Sample, is_noisy, is_real
from quandary_server.experiment.report.html import (
    UNDETERMINED,
    paragraph,
    picture,
    preformatted,
    section,
    subsection,
    table,
)
from quandary_server.experiment.report.saving_words import (
    NOT_REACHED,
    interval_told,
    needed_told,
    seeds_told,
)
from quandary_server.experiment.report.style import title_of
from quandary_server.experiment.results.measures import CENTRE, IOU, MACRO_RECALL, MEASURES, SAVED
from quandary_server.experiment.settings import PoolSettings

Pictures = Mapping[str, str]

MIDDLE = (
    "Of what was asked for after the first labels, up to the middle budget: at the last ones little of the pool is left, and "
    "all mixes look alike. Those of every budget are among the figures."
)


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


def replay_told(document: Document, replay: str, pictures: Pictures) -> str:
    """Return the curves, savings, classes and costs of the replay that is told of first."""
    settings = document.replays[replay]
    return section(
        f"Labels saved: {settings.title}",
        paragraph(words.FEW_OBJECTS) if is_real(settings.pool) else "",
        paragraph(_judged_on(document, replay)),
        picture(pictures.get(f"curves_{replay}"), words.CURVES),
        picture(pictures.get(f"estimators_{replay}"), words.BY_ESTIMATOR),
        picture(pictures.get(f"savings_{replay}"), words.SAVINGS),
        subsection("At every target", _savings(document, replay)),
        subsection("In hours and euros", _costs(document, replay)),
        subsection("Classes", _classes(document, replay), picture(pictures.get(f"classes_{replay}"), words.CLASSES)),
        subsection("What a round takes", _times(document, replay)),
    )


def _judged_on(document: Document, replay: str) -> str:
    """Return which classes the macro recall is over, in a line."""
    found = document.sample(f"macro_recall_classes_{replay}")
    if found is None:
        return "Which classes the macro recall is over was not kept by the run."
    judged = ", ".join(f"{name} ({crops:,})" for name, crops in found["judged"].items())
    told = f"The macro recall is over the classes {judged} (crops of the evaluation drives)"
    left_out = ", ".join(f"{name} ({crops:,})" for name, crops in found["left_out"].items())
    return f"{told}; left out, as too few or not in the pool: {left_out}." if left_out else f"{told}."


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
    rows = []
    for name in ("pool", *document.methods(replay)):
        value, mix = document.value(f"classes_{replay}_{name}"), document.class_mix(replay, name)
        if value is not None and mix is not None:
            title = "the whole pool" if name == "pool" else title_of(name)
            rows.append([title, f"{mix['labels']:,.0f}", f"{value:.2f}"])
    if not rows:
        return paragraph(f"Classes: {UNDETERMINED}.")
    table_told = table(["asked for by", "#labels", "#effective number of classes"], rows)
    mixes = max(len(document.samples(f"classes_{replay}_{method}")) for method in document.methods(replay))
    return (paragraph(MIDDLE) if mixes > 1 else "") + table_told


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
        paragraph(_judged_on(document, replay)),
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
