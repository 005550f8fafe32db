"""The document of figures, as the report reads it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quandary.errors import InvalidArgument
from quandary.options import Estimator
from quandary_server.experiment.methods import METHODS, RANDOM
from quandary_server.experiment.results.measures import curve_name, middle, saved_name
from quandary_server.experiment.settings import ExperimentSettings, PoolSettings, ReplaySettings

Sample = Mapping[str, Any]


class Document:
    """Figures by name; what is not there is undetermined, and is None or empty here."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self._figures = {figure["name"]: figure for figure in content["figures"]}
        self.settings = ExperimentSettings.model_validate(self._figures["experiment"]["samples"][0])

    @staticmethod
    def read(path: Path) -> "Document":
        """Read a file of figures; raises InvalidArgument where it is not that of an experiment."""
        try:
            return Document(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError, IndexError, ValidationError) as error:
            raise InvalidArgument.of("file", path, f"figures of an experiment ({type(error).__name__})") from None

    def figure(self, name: str) -> Mapping[str, Any] | None:
        """Return a figure."""
        return self._figures.get(name)

    def value(self, name: str) -> float | None:
        """Return a figure's value."""
        found = self._figures.get(name)
        return None if found is None else float(found["value"])

    def samples(self, name: str) -> Sequence[Any]:
        """Return a figure's samples."""
        found = self._figures.get(name)
        return [] if found is None else list(found["samples"])

    def sample(self, name: str) -> Sample | None:
        """Return a figure's only sample."""
        return next(iter(self.samples(name)), None)

    def named(self, prefix: str) -> list[str]:
        """Return the names of figures that begin so."""
        return [name for name in self._figures if name.startswith(prefix)]

    def class_mix(self, replay: str, asked_by: str) -> Sample | None:
        """Return the mix of classes that a method asked for up to the middle budget, or that of the whole `pool`."""
        mixes = self.samples(f"classes_{replay}_{asked_by}")
        return middle(mixes) if mixes else None

    def saving(self, replay: str, method: str, measure: str, share: float) -> Sample | None:
        """Return what a method saves."""
        return self.sample(saved_name(replay, method, measure, share))

    def curve(self, replay: str, method: str, measure: str) -> Sequence[Sequence[float]]:
        """Return the points of a method's learning curve: [labels, mean, low, high, seeds]."""
        return self.samples(curve_name(replay, method, measure))

    def random_curve(self, replay: str, estimator: Estimator, measure: str) -> Sequence[Sequence[float]]:
        """Return the points of random sampling as an estimator judges it."""
        own = estimator is METHODS[RANDOM].estimator
        return self.curve(replay, RANDOM if own else f"{RANDOM}_{estimator.value}", measure)

    @property
    def replays(self) -> Mapping[str, ReplaySettings]:
        """The replays, by name."""
        return self.settings.replays

    @property
    def first(self) -> str | None:
        """The replay that is told of first: the main one, where there is one; None where there is no replay."""
        return "main" if "main" in self.replays else next(iter(self.replays), None)

    def methods(self, replay: str) -> list[str]:
        """Return the methods of a replay that have a curve, random sampling first."""
        asked = [RANDOM, *(method for method in self.replays[replay].methods if method != RANDOM)]
        return [method for method in asked if self.curve(replay, method, "macro_recall")]


def is_real(pool: PoolSettings) -> bool:
    """Whether a pool is a folder of real frames."""
    return pool.source.kind == "folder"


def is_noisy(pool: PoolSettings) -> bool:
    """Whether a pool's proposals are others than the labels' own boxes."""
    noise = pool.noise
    return pool.proposals.value != "labels" or noise.shift > 0 or noise.scale > 0 or noise.missed > 0
