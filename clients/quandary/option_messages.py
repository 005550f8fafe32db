"""Scoring options as messages, both ways. From a message: 0 or unset is the default, an unknown number InvalidArgument."""

from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor

from quandary.errors import InvalidArgument
from quandary.options import Acquisition, Estimator, Reduction, ScoringOptions
from quandary.v1 import scoring_pb2

__all__ = ["options_message", "scoring_options"]

Choice = TypeVar("Choice", bound=StrEnum)


def options_message(options: ScoringOptions) -> scoring_pb2.ScoringOptions:
    """Return the message of scoring options, every default but the acquisition function's and the seed's spelt out."""
    message = scoring_pb2.ScoringOptions(
        estimator=scoring_pb2.Estimator.Value(f"ESTIMATOR_{options.estimator.name}"),
        reduction=scoring_pb2.Reduction.Value(f"REDUCTION_{options.reduction.name}"),
        top_k=options.top_k,
        mc_samples=options.mc_samples,
        seed=options.seed,
        generation=options.generation,
        include_embedding=options.include_embedding,
        jittered_proposals=options.jittered_proposals,
        include_objects=options.include_objects,
        escalate_share=options.escalate_share,
    )
    if options.acquisition is not None:
        message.acquisition = scoring_pb2.Acquisition.Value(f"ACQUISITION_{options.acquisition.name}")
    return message


def scoring_options(message: scoring_pb2.ScoringOptions) -> ScoringOptions:
    """Return the scoring options of a message; raises InvalidArgument naming the field, as ScoringOptions does."""
    default = ScoringOptions()
    estimator = _choice("estimator", message.estimator, Estimator, scoring_pb2.Estimator.DESCRIPTOR)
    reduction = _choice("reduction", message.reduction, Reduction, scoring_pb2.Reduction.DESCRIPTOR)
    return ScoringOptions(
        estimator=estimator or default.estimator,
        acquisition=_choice("acquisition", message.acquisition, Acquisition, scoring_pb2.Acquisition.DESCRIPTOR),
        reduction=reduction or default.reduction,
        top_k=message.top_k if message.HasField("top_k") else default.top_k,
        mc_samples=message.mc_samples if message.HasField("mc_samples") else default.mc_samples,
        seed=message.seed if message.HasField("seed") else None,
        generation=message.generation,
        include_embedding=message.include_embedding,
        include_objects=message.include_objects if message.HasField("include_objects") else default.include_objects,
        jittered_proposals=message.jittered_proposals,
        escalate_share=message.escalate_share if message.HasField("escalate_share") else default.escalate_share,
    )


def _choice(field: str, number: int, choices: type[Choice], descriptor: EnumDescriptor) -> Choice | None:
    if number == 0:
        return None
    value = descriptor.values_by_number.get(number)
    if value is None:
        names = ", ".join(found.name for found in descriptor.values[1:])
        raise InvalidArgument.of(field, number, f"one of {names}")
    return choices[value.name.removeprefix(f"{field.upper()}_")]
