"""The variants of the detector that the study compares: the default, and others that differ in one thing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quandary_server.detector.settings import FitSettings, NetSettings

DEFAULT = "default"

Change = tuple[Mapping[str, Any], Mapping[str, Any]]
"""What to set of the net, and what of the recipe."""

DOUBLINGS = (1, 2, 4)
"""Channels of the three convolutions over those of the first."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A net and a recipe under a name; `changes`: how they differ from the default, empty for the default itself."""

    name: str
    net: NetSettings = field(default_factory=NetSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied: the values it takes, and what each of them sets."""

    name: str
    values: tuple[float, ...]
    change: Callable[[Any], Change]


def _equal_crops(batch: int) -> Mapping[str, Any]:
    """The batch, with as many steps that as many crops are seen as by default."""
    default = FitSettings()
    return {"batch": batch, "steps": max(round(default.steps * default.batch / batch), 1)}


AXES = (
    Axis("side", (16, 24, 32, 48), lambda value: ({"side": value}, {})),
    Axis("width", (8, 16, 24), lambda value: ({"channels": tuple(value * factor for factor in DOUBLINGS)}, {})),
    Axis("hidden", (128, 256), lambda value: ({"hidden": value, "image_embedding": value}, {})),
    Axis("dropout", (0.1, 0.2, 0.5), lambda value: ({"dropout": value}, {})),
    Axis("box_weight", (0.3, 1.0, 2.0), lambda value: ({}, {"box_weight": value})),
    Axis("learning_rate", (3e-3, 6e-3, 1e-2), lambda value: ({}, {"learning_rate": value})),
    Axis("batch", (32, 64, 128), lambda value: ({}, _equal_crops(value))),
    Axis("steps", (300, 600, 1200), lambda value: ({}, {"steps": value})),
)


def variant(axis: Axis, value: float) -> Variant:
    """Return the variant with this value on this axis; the default one where that changes nothing.

    Raises pydantic's ValidationError for a value that the detector does not take.
    """
    net_change, fit_change = axis.change(value)
    net = NetSettings.model_validate({**NetSettings().model_dump(), **net_change})
    fit = FitSettings.model_validate({**FitSettings().model_dump(), **fit_change})
    if (net, fit) == (NetSettings(), FitSettings()):
        return Variant(DEFAULT)
    return Variant(f"{axis.name}_{value:g}", net, fit, {**net_change, **fit_change})


def all_variants() -> tuple[Variant, ...]:
    """Return the default variant, then those that differ from it, each once."""
    others = [found for axis in AXES for value in axis.values if (found := variant(axis, value)).changes]
    return (Variant(DEFAULT), *others)
