from html.parser import HTMLParser
from pathlib import Path

from experiment.made_up import BUDGETS, FLEET, make_settings, replay, write

from quandary_server.bench.figures import write_document
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.report.html import picture, table
from quandary_server.experiment.report.page import write_report
from quandary_server.experiment.results.figures import experiment_figures
from quandary_server.experiment.settings import ExperimentSettings

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


def report(root: Path, settings: ExperimentSettings, *, skip: tuple[str, ...] = (), determined: bool = True) -> Page:
    folder = write(root / "run", settings, {"default": 3.0, "mi_box": 2.0, "box": 1.0}, skip=skip, determined=determined)
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
        "repeats": replay({RANDOM: 2, "mi_box": 2, "default_folded": 2}, **long),
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
    assert "no: counts as 0" in page.texts
    assert "Few distinct objects" in page.text
    assert "20% missed" in page.text
    assert "mc_samples: 20" in page.text


def test_the_undetermined_is_said_to_be_so(tmp_path: Path) -> None:
    page = report(tmp_path, make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=True)}), determined=False)
    # the headlines of intervals and of the centre, and rankings of the box by every estimator
    assert page.texts.count("undetermined") >= 5 + 3 * 4
    assert "one seed: no interval" in page.text


def test_nothing_run_yet_has_a_page(tmp_path: Path) -> None:
    settings = make_settings({"main": replay({RANDOM: 1, "default": 1}, judge=True)})
    page = report(tmp_path, settings, skip=(RANDOM, "default"))
    assert "0 of 2" in page.texts
    assert page.texts.count("undetermined") > 18
    assert page.sources == []


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
