"""The figures in the README are those of the committed results."""

import json
from pathlib import Path
from typing import Any

import pytest

from quandary_server.bench.scoring.bars import BARS
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.results.headlines import HEADLINES, MAIN, QUICK_LEAD, SHARE
from quandary_server.experiment.results.measures import CENTRE, IOU, MACRO_RECALL, Measure, saved_name

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "bench" / "results"
SCORING_RESULTS = "scoring.json"
SHAPE = {"name", "value", "unit", "reach", "met", "samples"}


def figures(name: str) -> dict[str, Any]:
    document = json.loads((RESULTS / name).read_text())
    return {figure["name"]: figure for figure in document["figures"]}


def demo_table() -> str:
    """Return the README's table of the demo."""
    found = figures("demo.json")
    lines = [
        "| labels | random | macro recall | random | NLL (nats) | random | median centre error (m) | random |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for i in range(len(found["active_labels"]["samples"])):
        cells = []
        for name, digits in (("labels", 0), ("macro_recall", 3), ("nll", 3), ("median_centre_error_m", 2)):
            cells += [f"{found[f'{arm}_{name}']['samples'][i]:.{digits}f}" for arm in ("active", "random")]
        lines.append(f"| {' | '.join(cells)} |")
    seconds, answers, failed = (found[name]["value"] for name in ("seconds", "answers", "failed_answers"))
    swaps = int(found["generations"]["value"]) - 1
    lines += ["", f"{seconds:.0f} s in all; {answers:.0f} frames scored meanwhile through {swaps} swaps, {failed:.0f} failed."]
    return "\n".join(lines)


def test_the_demos_table_is_that_of_its_figures() -> None:
    assert demo_table() in (ROOT / "README.md").read_text(), f"the README should hold:\n{demo_table()}"


def saving(found: dict[str, Any], method: str, measure: Measure) -> str:
    """Return a saving in percent with its interval, as the README's table has it."""
    figure = found.get(saved_name(MAIN, method, measure.name, SHARE))
    if figure is None:
        return "undetermined"
    (sample,) = figure["samples"]
    if not sample["reached"]:
        return "not reached"
    told = f"{100 * sample['value']:.0f}"
    return told if sample["low"] is None else f"{told} ({100 * sample['low']:.0f} to {100 * sample['high']:.0f})"


def experiment_tables() -> str:
    """Return the README's tables of the experiment: what each method saves, and the figures that are held to a bar."""
    found = figures("experiment.json")
    asked = found["experiment"]["samples"][0]["replays"][MAIN]["methods"]
    lines = [
        "| labels saved (%) at 98 % of the full pool's | seeds | macro recall | centre error | IoU |",
        "|---|---:|---:|---:|---:|",
    ]
    for method, seeds in asked.items():
        if method != RANDOM:
            cells = " | ".join(saving(found, method, measure) for measure in (MACRO_RECALL, CENTRE, IOU))
            lines.append(f"| {METHODS[method].title} | {seeds} | {cells} |")
    lines += ["", "| figure | what | value | bar | |", "|---|---|---:|---:|---|"]
    for headline in HEADLINES:
        if headline is not QUICK_LEAD:
            figure = found.get(headline.name)
            value = "undetermined" if figure is None else f"{figure['value']:.2f}"
            if figure is not None and figure["unit"].endswith("target not reached"):
                value = "not reached"
            bar = f"{'<=' if headline.most else '>='} {headline.bound:g}"
            met = "" if figure is None else "met" if figure["met"] else "not met"
            lines.append(f"| `{headline.name}` | {headline.what} | {value} | {bar} | {met} |")
    return "\n".join(lines)


def test_the_experiments_tables_are_those_of_its_figures() -> None:
    assert experiment_tables() in (ROOT / "README.md").read_text(), f"the README should hold:\n{experiment_tables()}"


def scoring_table() -> str:
    """Return the README's table of what scoring costs: the figures that are held to a bar."""
    found = figures(SCORING_RESULTS)
    lines = ["| figure | what | value | bar | |", "|---|---|---:|---:|---|"]
    for name, bar in BARS.items():
        figure = found.get(name)
        value, met = (
            ("not measured", "") if figure is None else (f"{figure['value']:.3g}", "met" if figure["met"] else "not met")
        )
        lines.append(f"| `{name}` | {bar.what} ({bar.unit}) | {value} | {'<=' if bar.most else '>='} {bar.bound:g} | {met} |")
    return "\n".join(lines)


@pytest.mark.skipif(not (RESULTS / SCORING_RESULTS).is_file(), reason="no figures of scoring are recorded yet")
def test_the_table_of_scoring_is_that_of_its_figures() -> None:
    assert scoring_table() in (ROOT / "README.md").read_text(), f"the README should hold:\n{scoring_table()}"


def held_table(name: str) -> str:
    """Return a table of the figures of a file that are held to a bar."""
    lines = ["| figure | value | unit | bar | |", "|---|---:|---|---|---|"]
    for figure in figures(name).values():
        if figure["reach"]:
            met = "met" if figure["met"] else "not met"
            value = f"{figure['value']:,.0f}" if figure["value"] >= 1000 else f"{figure['value']:.3g}"
            lines.append(f"| `{figure['name']}` | {value} | {figure['unit']} | {figure['reach']} | {met} |")
    return "\n".join(lines)


@pytest.mark.parametrize("name", ["queue.json", "stream.json", "killed.json", "swap.json", "train.json"])
def test_the_tables_are_those_of_their_figures(name: str) -> None:
    if not (RESULTS / name).is_file():
        pytest.skip(f"{name} is not recorded yet")
    assert held_table(name) in (ROOT / "README.md").read_text(), f"the README should hold:\n{held_table(name)}"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_results_have_the_one_shape(path: Path) -> None:
    document = json.loads(path.read_text())
    assert set(document) == {"figures", "command", "commit", "machine"}
    assert document["figures"]
    for figure in document["figures"]:
        assert set(figure) == SHAPE
        assert isinstance(figure["value"], int | float)
        assert isinstance(figure["reach"], str)
    text = path.read_text()
    assert not any(word in text for word in ("/work", "/home", "/root", "/tmp"))


def test_every_room_is_on_the_map() -> None:
    readme = (ROOT / "README.md").read_text()
    rooms = [path.name for path in (ROOT / "services" / "quandary_server").iterdir() if (path / "__init__.py").is_file()]
    assert [room for room in rooms if f"`{room}`" not in readme and f"`.../{room}`" not in readme] == []
