from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

from experiment.made_up import BUDGETS, FLEET, make_settings, replay, write

from quandary_server.bench.figures import write_document
from quandary_server.experiment.folder import OTHER_CODE
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.replay.rounds import JudgedClasses
from quandary_server.experiment.report.html import picture, table
from quandary_server.experiment.report.page import write_report
from quandary_server.experiment.results.figures import experiment_figures
from quandary_server.experiment.settings import ExperimentSettings

EFFICIENCIES = {"default": 3.0, "mi_box": 2.0, "box": 1.0}
VOID = {"meta", "img", "br"}
HELD_OUT = {"pool": FLEET, "classes": ["Tram"], "seeds": 1}


class Page(HTMLParser):
    """Checks that every tag is closed by its own; keeps texts, and whatever would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def report(
    root: Path,
    settings: ExperimentSettings,
    *,
    efficiencies: Mapping[str, float] = EFFICIENCIES,
    skip: tuple[str, ...] = (),
    determined: bool = True,
) -> Page:
    folder = write(root / "run", settings, efficiencies, skip=skip, determined=determined)
    write_document(root / "experiment.json", experiment_figures(folder), "quandary experiment run made-up")
    path = write_report(root / "experiment.json", root / "report")
    assert path.parent == root / "report"
    return Page(path.read_text())


def test_the_page_tells_all_and_fetches_nothing(tmp_path: Path) -> None:
    methods = {RANDOM: 2, "default": 2, "mi_box": 2, "box": 2}
    long = {"budgets": [*BUDGETS, 6000], "stop_at": 6000}
    noise = {**FLEET, "noise": {"shift": 0.1, "scale": 0.1, "missed": 0.2}}
    replays = {
        "main": replay(methods, judge=True, **long),
        "repeats": replay({RANDOM: 2, "mi_box": 2, "mi_box_folded": 2}, **long),
        "noisy": replay(methods, pool=noise),
        "kitti": replay(methods, pool={"source": {"kind": "folder"}}),
        "sim_to_real": replay(methods, pool={"source": {"kind": "folder"}}, pretraining=FLEET),
    }
    page = report(tmp_path, make_settings(replays, held_out=HELD_OUT))
    assert len(page.sources) > 15
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for told in (
        "What was asked",
        "What came of it",
        "Labels saved: made up",
        "In hours and euros",
        "Is the uncertainty right?",
        "A class never seen",
        "Noisy proposals",
        "Real frames",
        "What is the paper's and what is ours",
        "Settings",
    ):
        assert told in page.texts
    assert "met" in page.texts
    assert "66.7% (66.7% to 66.7%)" in page.texts
    assert "top-k that folds drives and does nothing else" in page.text
    assert "Few distinct objects" in page.text
    assert "20% missed" in page.text
    assert "mc_samples: 20" in page.text
    assert "By method, where asking stops" in page.text


def cells_of(page: Page, *starts: str) -> list[str]:
    """The texts of the first table row that begins with these cells."""
    cells = [text for text in page.texts if text.strip()]
    for i in range(len(cells)):
        if tuple(cells[i : i + len(starts)]) == starts:
            return cells[i + len(starts) : i + len(starts) + 8]
    raise AssertionError(f"no row begins with {starts}")


def test_a_target_that_is_not_reached_is_told_so_and_never_as_nothing_saved(tmp_path: Path) -> None:
    past = {"budgets": [*BUDGETS, 6000, 7900], "stop_at": 7900}
    main = replay({RANDOM: 2, "default": 2, "box": 2, "mc_mi": 1}, **past)
    settings = make_settings({"main": main, "repeats": replay({RANDOM: 2, "mi_box": 2, "mi_box_folded": 2})})
    page = report(tmp_path, settings, efficiencies={"default": 3.0, "box": 0.5, "mc_mi": 2.0})

    box = cells_of(page, "ensemble x MC, box alone", "macro recall", "0.98")
    assert box[:5] == ["not reached: at most -1.5%", "over 7,900", "7,787", "no", "2 seeds"]
    hours = cells_of(page, "ensemble x MC, box alone", "macro recall", "over 79.0")
    assert hours[:5] == ["77.9", "not reached", "not reached", "not reached: at most -1.5%", "2 seeds"]
    assert not any(text.startswith("0.0%") for text in page.texts)

    worst = cells_of(page, "worst_active_saving_high")
    assert any("not reached: at most" in cell for cell in worst)
    assert "not met" in worst
    assert "The worst active method is ensemble x MC, box alone" in page.text
    # one seed tells no upper end: two measures at three targets
    assert "These are 6 measures at targets, by method: MC-dropout, mutual information: 6." in page.text

    folding = cells_of(page, "saved_by_folding")
    assert folding[1:4] == ["not reached", "share of labels", "not reached, 2 seeds"]
    assert "not met" in folding


def test_every_saving_stands_with_its_interval_and_its_seeds(tmp_path: Path) -> None:
    long = {"budgets": [*BUDGETS, 6000], "stop_at": 6000}
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2, "mi_box": 1}, **long)})
    page = report(tmp_path, settings)
    told = "66.7% (66.7% to 66.7%)"
    assert f"{told}, 2 seeds" in cells_of(page, "saved_macro_recall_98_low")
    assert cells_of(page, "default query", "macro recall", "0.98")[::4][:2] == [told, "2 seeds"]
    assert cells_of(page, "default query", "macro recall", "26.0")[3:5] == [told, "2 seeds"]
    alone = cells_of(page, "ensemble x MC, MI + box", "macro recall", "0.98")
    assert alone[::4][:2] == ["50.0% (one seed: no interval)", "1 seed"]


def test_the_undetermined_is_said_to_be_so(tmp_path: Path) -> None:
    page = report(tmp_path, make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=True)}), determined=False)
    # the headlines of intervals and of the centre, and rankings of the box by every estimator
    assert page.texts.count("undetermined") >= 5 + 3 * 4
    assert "one seed: no interval" in page.text


def test_how_the_best_was_chosen_and_what_it_is_judged_on_stand_beside_it(tmp_path: Path) -> None:
    long = {"budgets": [*BUDGETS, 6000], "stop_at": 6000}
    settings = make_settings({"main": replay({RANDOM: 2, "default": 2, "mi_box": 2, "box": 1}, **long)})
    folder = write(tmp_path / "run", settings, EFFICIENCIES)
    folder.write_judged_classes({"main": JudgedClasses(judged={"Car": 3000, "Van": 20}, left_out={"Tram": 4})})
    write_document(tmp_path / "experiment.json", experiment_figures(folder), "quandary experiment run made-up")
    page = Page(write_report(tmp_path / "experiment.json", tmp_path / "report").read_text())
    # before the table of the headlines
    chosen = page.text.index("default query, is the best of 2 by macro recall, chosen on the same seeds")
    assert page.text.index("What came of it") < chosen < page.text.index("saved_macro_recall_98_low")
    assert "over the classes Car (3,000), Van (20) (crops of the evaluation drives); left out, as too few" in page.text
    assert "up to the middle budget" in page.text
    assert cells_of(page, "ensemble x MC, MI + box", "800")
    # the bar of the hours is the full experiment's
    assert "the full experiment, all runs together" not in page.texts


def test_the_trainings_without_a_class_alone_have_a_page(tmp_path: Path) -> None:
    page = report(tmp_path, make_settings({}, held_out=HELD_OUT))
    assert "A class never seen" in page.texts
    assert "What came of it" in page.texts


def test_nothing_run_yet_has_a_page(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=True)})
    page = report(tmp_path, settings, skip=(RANDOM, "default"))
    assert "0 of 2" in page.texts
    assert page.texts.count("undetermined") > 18
    assert page.sources == []


def test_code_of_several_versions_is_told(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1})})
    folder = write(tmp_path, settings, EFFICIENCIES)
    (folder.root / OTHER_CODE).write_text('["a", "b"]')
    write_document(tmp_path / "experiment.json", experiment_figures(folder), "quandary experiment run made-up")
    page = Page(write_report(tmp_path / "experiment.json", tmp_path / "report").read_text())
    assert "Arms are of 3 versions of the code." in page.text


def test_a_real_pool_told_of_first_has_its_caution(tmp_path: Path) -> None:
    page = report(tmp_path, make_settings({"mine": replay({RANDOM: 1, "default": 1}, pool={"source": {"kind": "folder"}})}))
    assert "Few distinct objects" in page.text
    # bars are those of the main replay, which was not asked for
    assert "saved_macro_recall_98_low" not in page.texts


def test_text_is_escaped_and_cells_have_their_kind(tmp_path: Path) -> None:
    found = table(["a", "#b", ""], [["<i>", "1", "not met"]])
    assert "&lt;i&gt;" in found
    assert '<td class="number">1</td><td class="unmet">not met</td>' in found
    assert picture(None, "x") == ""
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, title="<b>bold</b>")})
    assert "Labels saved: <b>bold</b>" in report(tmp_path, settings).texts
