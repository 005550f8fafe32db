"""The source files that decide what comes of an experiment, as digests: other code, other crops, other queries."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

DOMAIN = (
    "quandary.clouds",
    "quandary.convert",
    "quandary.frames",
    "quandary.frustum",
    "quandary.geometry",
    "quandary.labels",
    "quandary.records",
    "quandary_server.datasets",
)

SIMULATING = (*DOMAIN, "quandary_server.simulator")
"""What decides the frames of a simulated fleet."""

CUTTING = (
    *DOMAIN,
    "quandary_server.detector.examples",
    "quandary_server.experiment.pools",
    "quandary_server.frustum",
    "quandary_server.storage.blobs",
    "quandary_server.storage.label_values",
    "quandary_server.storage.mcap_clouds",
    "quandary_server.storage.mcap_records",
    "quandary_server.storage.mcap_reference",
    "quandary_server.storage.point_clouds",
    "quandary_server.storage.snapshots",
    "quandary_server.trainer.labelled",
)
"""What decides the crops of frames."""

REPLAYING = (
    "quandary.options",
    "quandary_server.detector",
    "quandary_server.evaluation.boxes",
    "quandary_server.evaluation.classes",
    "quandary_server.evaluation.detection",
    "quandary_server.experiment.judging",
    "quandary_server.experiment.replay",
    "quandary_server.experiment.settings",
    "quandary_server.inference",
    "quandary_server.selection",
    "quandary_server.trainer.candidate",
    "quandary_server.uncertainty",
)
"""What decides the rounds on those crops; methods stand in the fingerprint by themselves."""

DECIDING = (*SIMULATING, *CUTTING, *REPLAYING)


def source_digest(*names: str) -> str:
    """Return the SHA-256, hexadecimal, of the Python files of modules and packages, given by their dotted names."""
    digest = hashlib.sha256()
    for name in sorted(set(names)):
        for inner, path in _files(name):
            digest.update(f"{name} {inner} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(name: str) -> list[tuple[str, Path]]:
    """Return the files of a module or package, each with its path inside; raises ModuleNotFoundError for neither."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no source of {name}")
    path = Path(spec.origin)
    if not spec.submodule_search_locations:
        return [("", path)]
    return [(inner.relative_to(path.parent).as_posix(), inner) for inner in sorted(path.parent.rglob("*.py"))]
