"""How right the uncertainty is of what each method's labels taught, beside that of random sampling with as many labels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from quandary.options import Estimator
from quandary_server.bench.figures import Figure, reported
from quandary_server.experiment.methods import RANDOM
from quandary_server.experiment.replay.rounds import ArmRecord
from quandary_server.experiment.results.judgements import MATCHING
from quandary_server.experiment.results.records import Records, own_estimator

Judgement = Mapping[str, Any]

RANKED = ("ause", "aurg", "gain")


def method_judgement_figures(records: Records, replay: str) -> Iterator[Figure]:
    """Yield each method's AUSE by kind of error and its ECE, where it stops asking, as the mean over seeds.

    AUSE by the uncertainty that matches the kind, of the seeds that determine it; ECE after a temperature. Each method's net
    answers with the method's own estimator. Random sampling's figures are of the round in which the others stop, named once per
    estimator (`ause_<replay>_random_<estimator>_<kind>`).
    """
    for method in records.methods(replay):
        if method != RANDOM:
            arms = list(records.complete(replay, method).values())
            yield from _figures(f"{replay}_{method}", arms, own_estimator(method))
    arms = list(records.complete(replay, RANDOM).values())
    for estimator in dict.fromkeys(own_estimator(method) for method in records.methods(replay)):
        yield from _figures(f"{replay}_{RANDOM}_{estimator.value}", arms, estimator)


def _figures(where: str, arms: Sequence[ArmRecord], estimator: Estimator) -> Iterator[Figure]:
    at_stop = [arm.at_stop for arm in arms if arm.at_stop is not None and estimator.value in arm.at_stop.uncertainty]
    if not at_stop:
        return
    judged: list[Judgement] = [one.uncertainty[estimator.value] for one in at_stop]
    head = {"estimator": estimator.value, "labels": float(np.mean([one.labels for one in at_stop]))}
    for kind, by in MATCHING.items():
        ranked = [rankings[by] for one in judged if (rankings := one["sparsification"].get(kind)) is not None]
        if ranked:
            means = {name: float(np.mean([one[name] for one in ranked])) for name in RANKED}
            sample = head | means | {"by": by, "seeds": len(ranked), "values": [float(one["ause"]) for one in ranked]}
            yield reported(f"ause_{where}_{kind}", means["ause"], "AUSE", [sample])
    errors = [float(one["calibrated"]["ece"]) for one in judged]
    yield reported(f"ece_{where}", float(np.mean(errors)), "ECE", [head | {"seeds": len(errors), "values": errors}])
