"""Pieces of HTML. Whatever is text is escaped here, and only here."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d1d5db; } h3 { margin-top: 1.8rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; margin: 0.8rem 0; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #e5e7eb; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.met { color: #00634a; font-weight: 600; } .unmet { color: #a33c00; font-weight: 600; } .open { color: #6b7280; }
img { max-width: 100%; height: auto; } pre { background: #f3f4f6; padding: 1rem; overflow-x: auto; font-size: 0.8rem; }
figure { margin: 1rem 0; } figcaption { font-size: 0.9rem; color: #4b5563; }
"""

UNDETERMINED = "undetermined"


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a section with what stands in it."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def subsection(title: str, *parts: str) -> str:
    """Return a part of a section."""
    return f"<h3>{escape(title)}</h3>\n" + "\n".join(part for part in parts if part)


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """Return a list of plain texts."""
    return "<ul>\n" + "\n".join(f"<li>{escape(item)}</li>" for item in items) + "\n</ul>"


def preformatted(text: str) -> str:
    """Return text as it is laid out."""
    return f"<pre>{escape(text)}</pre>"


def picture(png: str | None, caption: str) -> str:
    """Return a picture (PNG in base64) with its caption; nothing where there is none."""
    if png is None:
        return ""
    told = escape(caption)
    return f'<figure><img src="data:image/png;base64,{png}" alt="{told}"><figcaption>{told}</figcaption></figure>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts; a column whose name begins with # holds numbers, `met` and `not met` are coloured."""
    kinds = [' class="number"' if name.startswith("#") else "" for name in columns]
    head = "".join(f"<th{kind}>{escape(name.lstrip('#'))}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{_colour(cell) or kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _colour(cell: str) -> str:
    colours = {"met": "met", "not met": "unmet", UNDETERMINED: "open"}
    return f' class="{colours[cell]}"' if cell in colours else ""
