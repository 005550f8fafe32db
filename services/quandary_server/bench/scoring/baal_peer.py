"""Baal (github.com/baal-org/baal) with the same net, in a virtual environment that is made when it is first needed."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import torch

from quandary.errors import Unavailable
from quandary_server.bench.scoring import baal_worker
from quandary_server.bench.scoring.allocation import PARAMETERS
from quandary_server.cluster import SERVE_VARIABLES
from quandary_server.detector.net import FrustumNet
from quandary_server.frustum.raster import CHANNELS, GEOMETRY, Rasters

REQUIREMENTS = ("baal==2.1.0", "torch==2.13.*")
MADE = "quandary-made-this.json"
INSTALL_TIMEOUT_S, STOP_TIMEOUT_S = 900.0, 10.0
MAX_DIFFERENCE = 1e-4

KINDS = MappingProxyType({"baal_cached": "cached", "baal_plain": "plain"})
"""What its process is asked for, by the name of what comes of it: with its layer cache, and without."""


def prepare_environment(folder: Path) -> Path:
    """Return the Python of an environment with Baal in the folder, made where it is missing or was left half made.

    Raises Unavailable with what pip said where it cannot be made, or where the folder holds what was not made here.
    """
    python, made = folder / "bin" / "python", folder / MADE
    if made.is_file() and json.loads(made.read_text()) == list(REQUIREMENTS):
        return python
    if folder.exists() and any(folder.iterdir()) and not made.is_file():
        raise Unavailable(f"{folder} holds what was not made here: name another folder, or empty it")
    try:
        venv.create(folder, with_pip=True, clear=True)
        made.write_text("[]")
        command = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"no environment for Baal in {folder}: {error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing said"]
        raise Unavailable(f"pip could not install {' and '.join(REQUIREMENTS)}: {said[-1]}")
    made.write_text(json.dumps(REQUIREMENTS))
    return python


@contextmanager
def baal_rounds(
    python: Path, net: FrustumNet, batches: Sequence[Rasters], samples: int, folder: Path
) -> Iterator[Callable[[str], float]]:
    """Start Baal's process, and yield what measures a round of `cached` or `plain`: milliseconds of CPU per crop.

    Raises Unavailable where it does not run, or computes something else than the net does.
    """
    path = folder / "net.pt"
    _save(path, net, batches, samples)
    command = [str(python), "-I", baal_worker.__file__, str(path)]
    environment = os.environ | {name: SERVE_VARIABLES[name] for name in PARAMETERS}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        wanted, told = process.stdin, process.stdout

        def answer() -> float:
            line = told.readline()
            if not line:
                raise Unavailable(f"Baal's process ended with {process.wait(STOP_TIMEOUT_S)}")
            return float(json.loads(line))

        def measure(kind: str) -> float:
            print(kind, file=wanted, flush=True)
            return answer()

        difference = answer()
        if not difference <= MAX_DIFFERENCE:
            raise Unavailable(f"the net in Baal differs by {difference:.3g}, allowed are {MAX_DIFFERENCE:g}")
        try:
            yield measure
        finally:
            wanted.close()


def default_folder() -> Path:
    """Return where the environment is kept."""
    return Path.home() / ".cache" / "quandary" / f"baal-{sys.version_info.major}.{sys.version_info.minor}"


def _save(path: Path, net: FrustumNet, batches: Sequence[Rasters], samples: int) -> None:
    settings = net.settings
    whole = [torch.ones(1, width) for width in (settings.embedding, settings.hidden)]
    inputs = [(torch.from_numpy(batch.maps), torch.from_numpy(batch.geometry)) for batch in batches]
    with torch.no_grad():
        expected = [torch.cat(net(*one, *whole)[:3], dim=-1)[0] for one in inputs]
    sizes = {"maps": len(CHANNELS), "geometry": len(GEOMETRY), "outputs": sum(net.outputs)}
    shape = settings.model_dump() | sizes
    shape["channels"] = list(settings.channels)
    saved = {"net": shape, "state": net.state_dict(), "batches": inputs, "expected": expected, "samples": samples}
    torch.save(saved, path)
