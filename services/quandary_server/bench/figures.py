"""The one shape of all measured figures."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quandary_server.files import write_atomically


@dataclass(frozen=True)
class Figure:
    """One figure: its value, the bar it is held to as text, whether it meets it, and the raw runs behind it."""

    name: str
    value: float
    unit: str
    reach: str = ""
    met: bool | None = None
    samples: Sequence[Any] = field(default_factory=list)


def at_most(name: str, value: float, unit: str, bound: float, samples: Sequence[Any] = ()) -> Figure:
    """Return a figure that is to be at most `bound`."""
    return Figure(name, value, unit, f"<= {bound:g}", value <= bound, list(samples))


def at_least(name: str, value: float, unit: str, bound: float, samples: Sequence[Any] = ()) -> Figure:
    """Return a figure that is to be at least `bound`."""
    return Figure(name, value, unit, f">= {bound:g}", value >= bound, list(samples))


def reported(name: str, value: float, unit: str, samples: Sequence[Any] = ()) -> Figure:
    """Return a figure without a bar."""
    return Figure(name, value, unit, samples=list(samples))


def document(figures: Sequence[Figure], command: str) -> dict[str, Any]:
    """Return the document of figures: with the command that makes them again, the commit, and the machine."""
    return {
        "figures": [asdict(figure) for figure in figures],
        "command": command,
        "commit": commit(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
    }


def write_document(path: Path, figures: Sequence[Figure], command: str) -> None:
    """Write the document of figures as JSON."""
    _write(path, document(figures, command))


Measured = Callable[[Sequence[Figure]], None]
"""Told the figures of a part as soon as it is measured: a run that is broken off keeps those of the parts before."""


def write_part(
    path: Path, figures: Sequence[Figure], part_of: Callable[[str], str], command_of: Callable[[Set[str]], str]
) -> None:
    """Put the figures of one part of a benchmark into the document at `path`, in place of those that it had; the others stay.

    part_of: the part of a figure, by its name. command_of: the command that makes these parts again: it tells which are there.
    Where parts were made by several commits or machines, each is named. The file is whole at any moment.
    """
    part = part_of(figures[0].name)
    found = json.loads(path.read_text()) if path.exists() else {"figures": []}
    kept = [figure for figure in found["figures"] if part_of(figure["name"]) != part]
    parts = {part, *(part_of(figure["name"]) for figure in kept)}
    made = document(figures, command_of(parts))
    for key in ("commit", "machine") if kept else ():
        made[key] = "; ".join(dict.fromkeys([*found[key].split("; "), made[key]]))
    _write(path, made | {"figures": kept + made["figures"]})


def _write(path: Path, made: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(made, indent=1) + "\n").encode())


def commit() -> str:
    """Return the commit of the source tree, marked `+` where it was changed since; `unknown` outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
