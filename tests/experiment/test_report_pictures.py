from pathlib import Path

import pytest
from experiment.made_up import BUDGETS, all_methods, make_settings, replay, write

from quandary.errors import InvalidArgument
from quandary_server.bench.figures import write_document
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.report.curve_plots import draw_savings, three_curves
from quandary_server.experiment.report.document import Document
from quandary_server.experiment.report.plots import draw_pictures, summary_methods
from quandary_server.experiment.report.style import COLOURS, MARKERS, colour_of, marker_of
from quandary_server.experiment.report.uncertainty_plots import draw_sparsification
from quandary_server.experiment.results.figures import experiment_figures
from quandary_server.experiment.results.measures import MACRO_RECALL
from quandary_server.experiment.settings import ExperimentSettings

HELD_OUT = {"pool": {"source": {"kind": "fleet", "fleet": {}}}, "classes": ["Tram"], "seeds": 1}
EFFICIENCIES = {"default": 3.0, "mc_mi": 2.0}
PNG = b"\x89PNG\r\n\x1a\n"


def document(root: Path, settings: ExperimentSettings, *, skip: tuple[str, ...] = (), determined: bool = True) -> Document:
    folder = write(root / "run", settings, EFFICIENCIES, noise=0.01, skip=skip, determined=determined)
    write_document(root / "experiment.json", experiment_figures(folder), "quandary experiment run made-up")
    return Document.read(root / "experiment.json")


def test_a_whole_experiment_has_all_pictures(tmp_path: Path) -> None:
    replays = {"main": replay(all_methods(2), judge=True, budgets=[*BUDGETS, 6000], stop_at=6000)}
    drawn = draw_pictures(document(tmp_path, make_settings(replays, held_out=HELD_OUT)), tmp_path / "png")
    assert set(drawn) == {
        "experiment",
        "curves_main",
        "estimators_main",
        "savings_main",
        "classes_main",
        "sparsification_main",
        "reliability_main",
        "coverage_main",
        "held_out",
    }
    assert all(path.read_bytes().startswith(PNG) for path in drawn.values())
    assert drawn["experiment"].stat().st_size <= 200_000


def test_what_is_undetermined_is_drawn_as_such_or_not_at_all(tmp_path: Path) -> None:
    settings = make_settings({"kitti": replay({RANDOM: 1, "default": 1}, judge=True)})
    drawn = draw_pictures(document(tmp_path, settings, determined=False), tmp_path)
    assert {"experiment", "curves_kitti", "savings_kitti", "sparsification_kitti"} <= set(drawn)
    assert "held_out" not in drawn


def test_a_method_that_does_not_reach_the_target_has_no_bar_and_is_named_so(tmp_path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    methods = ["default", "mc_mi", "box"]
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2, "mc_mi": 1, "box": 2}, budgets=[*BUDGETS, 6000])})
    axes = Figure().subplots()
    draw_savings(axes, document(tmp_path, settings), "main", methods, MACRO_RECALL)
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths == pytest.approx([2 / 3, 1 / 2], abs=0.05)
    told = [text.get_text() for text in axes.texts]
    assert told[0].endswith("%")
    assert told[1].endswith("%, no interval")
    assert told[2] == "not reached"
    assert [tick.get_text().rpartition(" (")[2] for tick in axes.get_yticklabels()] == ["2 seeds)", "1 seed)", "2 seeds)"]
    # every row is in sight, those without a bar too
    below, above = axes.get_ylim()
    assert above < 0 < len(methods) - 1 < below


@pytest.mark.parametrize(("judge", "told"), [(True, "undetermined:\ntoo few errors"), (False, "not judged")])
def test_an_empty_panel_says_why(judge: bool, told: str, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=judge)})
    axes = Figure().subplots()
    draw_sparsification(axes, document(tmp_path, settings, determined=False), "main", "centre")
    assert [text.get_text() for text in axes.texts] == [told]


def test_a_legend_is_no_wider_than_its_picture(tmp_path: Path) -> None:
    asked = replay({RANDOM: 2, "mi_box": 2, "mi_box_folded": 2, "default_folded": 2})
    figure = three_curves(document(tmp_path, make_settings({"repeats": asked})), "repeats")
    assert figure is not None
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width


def test_nothing_run_yet_draws_nothing(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1})}, held_out=None)
    assert draw_pictures(document(tmp_path, settings, skip=(RANDOM, "default")), tmp_path) == {}


def test_methods_keep_their_looks_and_none_shares_them() -> None:
    assert set(METHODS) <= set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert len(set(MARKERS.values())) == len(MARKERS)
    assert colour_of("a_new_one") == colour_of("a_new_one")
    assert marker_of("a_new_one") == "*"


def test_the_summary_shows_methods_on_most_seeds_the_packaged_query_first(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 2, "box": 1, "mc_mi": 2, "default": 2})})
    assert summary_methods(document(tmp_path, settings), "main") == [RANDOM, "default", "mc_mi"]


@pytest.mark.parametrize("text", ["", "{}", '{"figures": []}', '{"figures": [{"name": "experiment", "samples": [{}]}]}', "[1]"])
def test_a_file_of_other_figures_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InvalidArgument, match=r"other\.json"):
        Document.read(tmp_path / "other.json")
