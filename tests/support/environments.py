"""Environments of their own for packages from the index that cannot live beside ours."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]


def python_with(name: str, requirements: Sequence[str]) -> Path | None:
    """Return the interpreter of the environment .venv-<name>, made on first use; None where no package index is at hand."""
    home = ROOT / f".venv-{name}"
    python, pins = home / "bin" / "python", home / "pins.txt"
    # two runs of tests may go on side by side
    with FileLock(home.with_suffix(".lock")):
        if pins.is_file() and pins.read_text() == "\n".join(requirements):
            return python
        venv.create(home, clear=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
        if subprocess.run([*pip, "install", "--quiet", "--no-compile", *requirements]).returncode:
            return None
        pins.write_text("\n".join(requirements))
    return python
