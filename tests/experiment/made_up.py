"""Experiments whose curves are known in closed form: folders as a run leaves them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quandary.labels import CLASSES
from quandary.options import Estimator
from quandary_server.experiment.folder import ArmPlan, ExperimentFolder, HeldOutPlan
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.replay.rounds import ArmRecord, Judged, Round
from quandary_server.experiment.runner import estimators_of
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.uncertainty.sparsification import sparsify

POOL = 8000
BUDGETS = (100, 200, 400, 800, 1600, 3200)
SECONDS_PER_LABEL = 36.0
FLEET = {"source": {"kind": "fleet", "fleet": {"pool_drives": 2}}}


def replay(methods: Mapping[str, int], **changes: Any) -> dict[str, Any]:
    """The settings of a replay."""
    asked = {"title": "made up", "pool": FLEET, "methods": dict(methods), "budgets": list(BUDGETS), "stop_at": BUDGETS[-1]}
    return asked | changes


def make_settings(replays: Mapping[str, Mapping[str, Any]], **changes: Any) -> ExperimentSettings:
    """The settings of an experiment."""
    return ExperimentSettings.model_validate({"title": "A made-up experiment", "replays": dict(replays), **changes})


def figures_at(labels: float, efficiency: float, noise: float = 0.0) -> dict[str, float]:
    """What is reached with labels that are worth `efficiency` times as many: linear in them, so that crossings are exact."""
    worth = labels * efficiency / POOL + noise
    return {
        "macro_recall": 0.2 + 0.6 * worth,
        "accuracy": 0.4 + 0.5 * worth,
        "nll": 1.5 - worth,
        "ece": 0.05,
        "mean_centre_error": 2.0 - worth,
        "mean_depth_error": 1.5 - worth,
        "mean_size_error": 1.0 - 0.5 * worth,
        "mean_iou": 0.1 + 0.5 * worth,
        "median_centre_error": 1.5 - worth,
        "median_size_error": 0.9 - 0.5 * worth,
        "crops": 500.0,
        "objects": 400.0,
    } | {f"recall_{name}": 0.5 for name in CLASSES}


def arm(
    settings: ExperimentSettings,
    plan: ArmPlan,
    efficiency: float,
    *,
    noise: float = 0.0,
    rounds: int | None = None,
    uncertainty: Mapping[str, Any] | None = None,
    at_stop: Mapping[str, Any] | None = None,
) -> ArmRecord:
    """An arm whose labels are worth `efficiency` times as many of random sampling's; `rounds`: it was stopped after so many."""
    asked = settings.replays[plan.replay]
    budgets = [*asked.budgets, POOL] if plan.method == RANDOM and asked.full_pool else list(asked.budgets)
    estimators = [estimator.value for estimator in estimators_of(asked, plan.method)]
    rng = np.random.default_rng([plan.seed, len(plan.method)])
    found = [
        Round(
            number=number,
            labels=labels,
            labelling_seconds=labels * SECONDS_PER_LABEL,
            classes=_classes(labels, efficiency),
            steps=300,
            cpu_seconds=9.0,
            wall_seconds=10.0,
            figures=dict.fromkeys(estimators, figures_at(labels, efficiency, noise * float(rng.normal()))),
            picked=[],
        )
        for number, labels in enumerate(budgets)
    ]
    complete = rounds is None or rounds >= len(found)
    return ArmRecord(
        replay=plan.replay,
        method=plan.method,
        seed=plan.seed,
        first=list(range(100)),
        rounds=found[:rounds],
        uncertainty=uncertainty if complete else None,
        at_stop=Judged(labels=asked.budgets[-1], uncertainty=at_stop) if complete and at_stop else None,
        complete=complete,
    )


def _classes(labels: int, efficiency: float) -> dict[str, int]:
    """Cars for all but an eighth of each label's worth."""
    rare = int(labels * min(efficiency, 3.0) / 32)
    return dict.fromkeys(CLASSES[1:], rare) | {CLASSES[0]: labels - rare * (len(CLASSES) - 1)}


def judged(seed: int = 0, determined: bool = True) -> dict[str, Any]:
    """A judgement of all estimators: class errors ranked well, boxes perfectly; undetermined for boxes if so told."""
    rng = np.random.default_rng(seed)
    doubt = rng.random(400)
    wrong = (rng.random(400) < doubt**2).astype(np.float64)
    centre = rng.lognormal(size=400)
    return {
        estimator.value: {
            "crops": 400,
            "objects": 400,
            "temperature": 1.5,
            "raw": _calibration(0.08),
            "calibrated": _calibration(0.02),
            "sparsification": {
                "class": {"predictive_entropy": _ranked(wrong, doubt), "default": _ranked(wrong, doubt)},
                **{
                    kind: {"total": _ranked(centre, centre), "default": _ranked(centre, doubt)} if determined else None
                    for kind in ("centre", "size", "overlap")
                },
            },
            "coverage": {
                "parameters": ["along", "yaw"],
                "scales": [1.2, 0.9],
                "raw": {"0.5": [0.4, 0.3], "0.95": [0.9, 0.8]},
                "scaled": {"0.5": [0.5, 0.5], "0.95": [0.95, 0.9]},
                "nll": [0.4, 0.5],
                "nll_scaled": [0.3, 0.2],
            },
        }
        for estimator in Estimator
        if estimator is not Estimator.ESCALATE
    }


def _calibration(ece: float) -> dict[str, Any]:
    bins = {"confidence": [0.0, 0.5, 0.9], "accuracy": [0.0, 0.5 - ece, 0.9 - ece], "counts": [0, 100, 300]}
    return {"ece": ece, "nll": 0.4, "brier": 0.2, "accuracy": 0.8, "reliability": bins}


def _ranked(errors: np.ndarray, by: np.ndarray) -> dict[str, Any]:
    found = sparsify(errors, by)
    numbers = {name: getattr(found, name) for name in ("ause", "aurg", "gain", "ause_random")}
    return numbers | {name: getattr(found, name)[::2].tolist() for name in ("fraction", "curve", "oracle")}


def write(
    root: Path,
    settings: ExperimentSettings,
    efficiencies: Mapping[str, float],
    *,
    noise: float = 0.0,
    stopped: Mapping[str, int] = {},
    skip: Sequence[str] = (),
    determined: bool = True,
) -> ExperimentFolder:
    """A folder with all arms; of methods in `stopped` the last seed has so many rounds only, those in `skip` were not begun."""
    folder = ExperimentFolder(root)
    folder.claim(settings)
    for name, asked in settings.replays.items():
        for method, seeds in asked.methods.items():
            for seed in range(seeds if method not in skip else 0):
                plan = ArmPlan(name, method, seed)
                rounds = stopped.get(method) if seed == seeds - 1 else None
                found = judged(seed, determined) if asked.judge else {}
                uncertainty = found or None if method == RANDOM else None
                own = METHODS[method].estimator.value
                at_stop = {name: one for name, one in found.items() if method == RANDOM or name == own}
                efficiency = efficiencies.get(method, 1.0)
                made = arm(settings, plan, efficiency, noise=noise, rounds=rounds, uncertainty=uncertainty, at_stop=at_stop)
                folder.write_arm(plan, made)
    if settings.held_out:
        for class_name in settings.held_out.classes:
            for seed in range(settings.held_out.seeds):
                scores = {"predictive_entropy": 0.7, "mutual_information": 0.8}
                auroc = dict.fromkeys(("mc_dropout", "ensemble_mc_dropout"), scores) | {"softmax": {"predictive_entropy": 0.6}}
                found = {"class": class_name, "seed": seed, "crops": 40, "auroc": auroc}
                folder.write_held_out(HeldOutPlan(class_name, seed), found)
    folder.write_seconds(7200.0)
    return folder


def all_methods(seeds: int) -> dict[str, int]:
    """Every method there is, on so many seeds."""
    return dict.fromkeys(METHODS, seeds)
