"""The report: one HTML page that needs nothing else."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from quandary_server.experiment.report.document import Document
from quandary_server.experiment.report.headline_sections import headlines
from quandary_server.experiment.report.html import page
from quandary_server.experiment.report.plots import SUMMARY, draw_pictures
from quandary_server.experiment.report.sections import (
    asked_for,
    other_replays,
    papers_and_ours,
    replay_told,
    settings_told,
)
from quandary_server.experiment.report.uncertainty_sections import out_of_distribution, uncertainty_told
from quandary_server.files import write_atomically

PAGE = "report.html"


def write_report(source: Path, where: Path) -> Path:
    """Draw every picture of a file of figures into a folder, and the page that holds them; return where the page lies.

    Reads the file alone, no records. Raises InvalidArgument where it is not that of an experiment.
    """
    document = Document.read(source)
    pictures = draw_pictures(document, where)
    path = where / PAGE
    inlined = {name: b64encode(picture.read_bytes()).decode() for name, picture in pictures.items()}
    write_atomically(path, make_page(document, inlined).encode(), durable=False)
    return path


def make_page(document: Document, pictures: Mapping[str, str]) -> str:
    """Return the page, with pictures (PNG in base64, by name) inlined."""
    first = document.first
    parts = [
        asked_for(document),
        headlines(document, pictures.get(SUMMARY)),
        replay_told(document, first, pictures) if first else "",
        uncertainty_told(document, pictures),
        out_of_distribution(document, pictures),
        other_replays(document, pictures),
        papers_and_ours(),
        settings_told(document),
    ]
    return page(document.settings.title, parts)
