"""A generation in memory, trained on crops as the trainer does."""

from datetime import datetime

import numpy as np

from quandary_server.clock import now
from quandary_server.detector.examples import Examples
from quandary_server.detector.export import export_onnx
from quandary_server.detector.fitting import fit_member
from quandary_server.experiment.settings import ExperimentSettings
from quandary_server.inference.generation import LoadedGeneration
from quandary_server.trainer.candidate import draft_candidate
from quandary_server.trainer.members import Member


def trained(
    settings: ExperimentSettings, examples: Examples, *, steps: int, members: int, seed: int, when: datetime | None = None
) -> LoadedGeneration:
    """Return a generation of so many members, fitted one after the other in this process; all draws follow from the seed.

    The first members are the same however many there are.
    """
    fit = settings.fit.model_copy(update={"steps": steps})
    masks, *seeds = np.random.SeedSequence(seed).generate_state(settings.members + 1).tolist()
    fitted = []
    for member in seeds[:members]:
        model, parity = export_onnx(fit_member(examples, settings.net, fit, member))
        fitted.append(Member(model, parity, float("nan")))
    return draft_candidate(
        fitted,
        settings.net,
        examples,
        seed=masks,
        now=when or now(),
        parent="",
        run="",
        snapshot_digest="",
        settings={},
    ).load()
