"""The one shape of all measured figures."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(figures, command), indent=1) + "\n")


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
