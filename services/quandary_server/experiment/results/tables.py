"""The records as tables, a row for each thing that was measured, as Parquet."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quandary.labels import CLASSES
from quandary_server.experiment.folder import ExperimentFolder
from quandary_server.experiment.replay.rounds import ArmRecord, Judged
from quandary_server.experiment.settings import CostSettings
from quandary_server.files import write_atomically

Row = dict[str, Any]

BOX_FIGURES = (
    "mean_centre_error",
    "mean_depth_error",
    "mean_size_error",
    "mean_iou",
    "median_centre_error",
    "median_size_error",
)
FIGURES = (
    *("macro_recall", "accuracy", "nll", "ece", "crops", "objects"),
    *BOX_FIGURES,
    *(f"recall_{name}" for name in CLASSES),
)
ARM = {"replay": pa.string(), "method": pa.string(), "seed": pa.int64()}
ROUND = {
    **ARM,
    "complete": pa.bool_(),
    "round": pa.int64(),
    "labels": pa.int64(),
    "steps": pa.int64(),
    "labelling_seconds": pa.float64(),
    "euros": pa.float64(),
    "cpu_seconds": pa.float64(),
    "wall_seconds": pa.float64(),
    **{f"labels_{name}": pa.int64() for name in CLASSES},
    "estimator": pa.string(),
}
NUMBERS = pa.list_(pa.float64())
JUDGED = {**ARM, "labels": pa.int64(), "estimator": pa.string(), "crops": pa.int64(), "objects": pa.int64()}
UNCERTAINTY = {
    **JUDGED,
    "kind": pa.string(),
    "uncertainty": pa.string(),
    **dict.fromkeys(("ause", "aurg", "gain", "ause_random"), pa.float64()),
    **dict.fromkeys(("fraction", "curve", "oracle"), NUMBERS),
}
CALIBRATION = {
    **JUDGED,
    "stage": pa.string(),
    **dict.fromkeys(("temperature", "ece", "nll", "brier", "accuracy"), pa.float64()),
    **dict.fromkeys(("bin_confidence", "bin_accuracy", "bin_count"), NUMBERS),
}
COVERAGE = {
    **JUDGED,
    "stage": pa.string(),
    "parameter": pa.string(),
    **dict.fromkeys(("level", "share", "scale", "nll"), pa.float64()),
}
HELD_OUT = {
    "class": pa.string(),
    "seed": pa.int64(),
    "crops": pa.int64(),
    "estimator": pa.string(),
    "score": pa.string(),
    "auroc": pa.float64(),
}

COUNTS = ("crops", "objects")
BINS = (("confidence", "confidence"), ("accuracy", "accuracy"), ("count", "counts"))


def tables(folder: ExperimentFolder) -> dict[str, pa.Table]:
    """Return the tables of what is there so far, by name: rounds, uncertainty, calibration, coverage, held_out.

    rounds has a row per replay, method, seed, round and estimator; errors are in metres, euros are the labelling's. In
    uncertainty a kind of error with too few errors has one row without an uncertainty: undetermined. In coverage `share` is
    that of the errors inside the central interval of that level.
    """
    arms, cost = list(folder.arms()), folder.settings().cost
    judged = [row for arm in arms for row in _judged(arm)]
    return {
        "rounds": _rounds(arms, cost),
        "uncertainty": _table([row for head, found in judged for row in _uncertainty(head, found)], UNCERTAINTY),
        "calibration": _table([row for head, found in judged for row in _calibration(head, found)], CALIBRATION),
        "coverage": _table([row for head, found in judged for row in _coverage(head, found)], COVERAGE),
        "held_out": _table([row for found in folder.all_held_out() for row in _held_out(found)], HELD_OUT),
    }


def write_tables(folder: ExperimentFolder, where: Path) -> None:
    """Write the tables as <name>.parquet, each whole or not at all."""
    where.mkdir(parents=True, exist_ok=True)
    for name, table in tables(folder).items():
        written = io.BytesIO()
        pq.write_table(table, written, compression="zstd")
        write_atomically(where / f"{name}.parquet", written.getvalue(), durable=False)


def _table(rows: Sequence[Row], columns: Mapping[str, Any]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.items()})


def _rounds(arms: Iterable[ArmRecord], cost: CostSettings) -> pa.Table:
    rows: list[Row] = []
    for arm in arms:
        for found in arm.rounds:
            head = _arm(arm) | {
                "complete": arm.complete,
                "round": found.number,
                "labels": found.labels,
                "steps": found.steps,
                "labelling_seconds": found.labelling_seconds,
                "euros": found.labelling_seconds / 3600 * cost.euros_per_hour,
                "cpu_seconds": found.cpu_seconds,
                "wall_seconds": found.wall_seconds,
                **{f"labels_{name}": count for name, count in found.classes.items()},
            }
            rows += [head | {"estimator": estimator, **figures} for estimator, figures in found.figures.items()]
    named = [*FIGURES, *sorted({name for row in rows for name in row} - {*ROUND, *FIGURES})]
    return _table(rows, ROUND | dict.fromkeys(named, pa.float64()))


def _arm(arm: ArmRecord) -> Row:
    return {"replay": arm.replay, "method": arm.method, "seed": arm.seed}


def _judged(arm: ArmRecord) -> list[tuple[Row, Mapping[str, Any]]]:
    """Return what was judged of an arm, with its head: of the whole pool's net, and of that where asking stops."""
    nets = [arm.at_stop] if arm.at_stop else []
    if arm.uncertainty is not None and (not arm.at_stop or arm.at_stop.labels < arm.rounds[-1].labels):
        nets.append(Judged(labels=arm.rounds[-1].labels, uncertainty=arm.uncertainty))
    return [
        (_arm(arm) | {"labels": net.labels, "estimator": estimator} | {name: found[name] for name in COUNTS}, found)
        for net in nets
        for estimator, found in net.uncertainty.items()
    ]


def _uncertainty(head: Row, found: Mapping[str, Any]) -> list[Row]:
    return [
        head | {"kind": kind} | ranked
        for kind, rankings in found["sparsification"].items()
        for ranked in ([{"uncertainty": name} | values for name, values in rankings.items()] if rankings else [{}])
    ]


def _calibration(head: Row, found: Mapping[str, Any]) -> list[Row]:
    return [
        head
        | {"stage": stage, "temperature": temperature}
        | {name: found[stage][name] for name in ("ece", "nll", "brier", "accuracy")}
        | {f"bin_{name}": found[stage]["reliability"][of] for name, of in BINS}
        for stage, temperature in (("raw", 1.0), ("calibrated", found["temperature"]))
    ]


def _coverage(head: Row, found: Mapping[str, Any]) -> list[Row]:
    covered = found["coverage"]
    return [
        head
        | {"stage": stage, "parameter": parameter, "level": float(level), "share": shares[i], "nll": covered[nll][i]}
        | {"scale": covered["scales"][i] if stage == "scaled" else 1.0}
        for stage, nll in (("raw", "nll"), ("scaled", "nll_scaled"))
        for level, shares in covered[stage].items()
        for i, parameter in enumerate(covered["parameters"])
    ]


def _held_out(found: Mapping[str, Any]) -> list[Row]:
    return [
        {"class": found["class"], "seed": found["seed"], "crops": found["crops"], "estimator": e, "score": s, "auroc": value}
        for e, scores in found["auroc"].items()
        for s, value in scores.items()
    ]
