"""What the protocol calls models: ways to draw from a generation, whose id is the model's version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quandary.errors import InvalidArgument, NotFound, Violation, within
from quandary.options import MAX_MC_SAMPLES, Acquisition, Estimator, ScoringOptions
from quandary_server.inference.generation import Generation
from quandary_server.uncertainty.acquisition import ACQUISITIONS
from quandary_server.wire.inference_parameters import Parameters, check_names, integer, number, text

ENSEMBLE, MC_DROPOUT, ESCALATE = "ensemble", "mc_dropout", "escalate"
WITH_MASKS: Mapping[str, Estimator] = {
    ENSEMBLE: Estimator.ENSEMBLE_MC_DROPOUT,
    MC_DROPOUT: Estimator.MC_DROPOUT,
    ESCALATE: Estimator.ESCALATE,
}
"""The models that draw dropout masks."""

MEMBER = re.compile(r"member-(0|[1-9][0-9]{0,3})")

SERVED = tuple(a for a in ACQUISITIONS if a not in (Acquisition.TIGHTNESS, Acquisition.STABILITY))
"""The acquisition functions of a crop by itself; the others jitter proposals, and a raster has none."""


@dataclass(frozen=True)
class Model:
    """A way to draw: the models with masks by the estimators that they are named after, `member-K` by one pass of a member.

    `ensemble` draws from every member, `mc_dropout` from the first; `escalate` by few masks of every member, and by all of them
    for the crops near the top.
    """

    name: str
    member: int | None = None

    def serving(self, field: str, generation: Generation) -> Generation:
        """Return what this model draws from: the generation, or its one member; raises NotFound where it lacks the member."""
        if self.member is None:
            return generation
        if self.member >= generation.members:
            raise _unknown(field, self.name, generation.members)
        return generation.only(self.member)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that it knows."""
        if self.member is not None:
            return ("acquisition", "timeout")
        escalating = ("escalate_share",) if self.name == ESCALATE else ()
        return ("seed", "mc_samples", "acquisition", *escalating, "timeout")

    def options(self, parameters: Parameters) -> ScoringOptions:
        """Return how to score; raises InvalidArgument for a parameter that is unknown, of another type or out of bounds."""
        with within("parameters"):
            check_names(parameters, self.parameters)
            acquisition = _acquisition(text(parameters, "acquisition"))
            if self.member is not None:
                return ScoringOptions(Estimator.SOFTMAX, acquisition)
            seed, samples = integer(parameters, "seed"), integer(parameters, "mc_samples")
            if self.name == ENSEMBLE and samples == 0:
                return ScoringOptions(Estimator.DEEP_ENSEMBLE, acquisition, seed=seed)
            if samples is None:
                samples = ScoringOptions().mc_samples
            if not 2 <= samples <= MAX_MC_SAMPLES:
                bound = f"2 to {MAX_MC_SAMPLES}" + (", or 0 for no dropout" if self.name == ENSEMBLE else "")
                raise InvalidArgument.of("mc_samples", samples, bound)
            share = number(parameters, "escalate_share")
            options = ScoringOptions(WITH_MASKS[self.name], acquisition, mc_samples=samples, seed=seed)
            return options if share is None else replace(options, escalate_share=share)


def named(field: str, name: str) -> Model:
    """Return the model of a name; raises NotFound for one that no generation has. field: where the name is in the request."""
    if name in WITH_MASKS:
        return Model(name)
    member = MEMBER.fullmatch(name)
    if member is None:
        raise _unknown(field, name)
    return Model(name, int(member[1]))


def _acquisition(name: str | None) -> Acquisition | None:
    if name is None:
        return None
    if name not in SERVED:
        raise InvalidArgument.of("acquisition", repr(name), f"one of {', '.join(SERVED)}")
    return Acquisition(name)


def _unknown(field: str, name: str, members: int | None = None) -> NotFound:
    last = "K" if members is None else f"0 to member-{members - 1}"
    violation = Violation(field, repr(name[:80]), f"one of {', '.join(WITH_MASKS)}, member-{last}")
    return NotFound(str(violation), violations=[violation])
