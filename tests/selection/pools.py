"""Pools of candidates for the tests."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from quandary_server.selection.candidates import Candidates, Taken
from quandary_server.selection.objects import Objects

CLASSES, SIZE = 4, 3


def pool(
    scores: ArrayLike,
    drives: list[str] | None = None,
    stamps_s: ArrayLike | None = None,
    embeddings: ArrayLike | None = None,
    class_shares: ArrayLike | None = None,
    seconds: ArrayLike | None = None,
    ids: list[str] | None = None,
) -> Candidates:
    """Candidates f00, f01, ... of drive d, 1000 s apart, unless told otherwise."""
    count = len(np.asarray(scores))
    return Candidates(
        ids=np.array(ids or [f"f{i:02}" for i in range(count)], np.str_),
        drives=np.array(drives or ["d"] * count, np.str_),
        stamps_s=np.asarray(1000.0 * np.arange(count) if stamps_s is None else stamps_s, np.float64),
        scores=np.asarray(scores, np.float64),
        embeddings=np.zeros((count, SIZE), np.float32) if embeddings is None else np.asarray(embeddings, np.float32),
        class_shares=np.zeros((count, CLASSES)) if class_shares is None else np.asarray(class_shares, np.float64),
        seconds=np.ones(count) if seconds is None else np.asarray(seconds, np.float64),
    )


def taken(drives: list[str], stamps_s: ArrayLike, embeddings: ArrayLike | None = None) -> Taken:
    """What is taken, without embeddings unless told otherwise."""
    unknown = np.zeros((len(drives), SIZE), np.float32)
    known = unknown if embeddings is None else np.asarray(embeddings, np.float32)
    return Taken(np.array(drives, np.str_), np.asarray(stamps_s, np.float64), known)


NOTHING = Taken.nothing(SIZE)


def with_objects(candidates: Candidates, rng: np.random.Generator, most: int = 4) -> Candidates:
    """The candidates with objects by chance: none in some, few kinds of embeddings, zeros among them."""
    counts = rng.integers(0, most + 1, size=len(candidates))
    frames = np.repeat(np.arange(len(candidates)), counts)
    embeddings = rng.integers(-1, 2, size=(len(frames), SIZE)).astype(np.float32)
    return replace(candidates, objects=Objects(frames, rng.random(len(frames)), embeddings))


@st.composite
def pools(draw: st.DrawFn, max_size: int = 30) -> Candidates:
    """Up to 30 candidates of three drives with distinct scores, few values of all else, in random order."""
    count = draw(st.integers(0, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_pool(rng, count)


def random_pool(rng: np.random.Generator, count: int, size: int = SIZE) -> Candidates:
    """Candidates by chance; some have no embedding, some are in the same place, and of half of them it is not known which."""
    embeddings: NDArray[np.float32] = rng.integers(-1, 2, size=(count, size)).astype(np.float32)
    positions_m = rng.integers(0, 4, size=(count, 3)).astype(np.float64)
    positions_m[rng.random(count) < 0.5] = np.nan
    return Candidates(
        ids=np.array([f"f{i}" for i in rng.permutation(count)], np.str_),
        drives=rng.choice(["x", "y", "z"], size=count).astype(np.str_),
        stamps_s=rng.integers(0, 200, size=count) / 10,
        scores=rng.permutation(count) / 7,
        embeddings=embeddings,
        class_shares=rng.dirichlet(np.full(CLASSES, 0.3), size=count),
        seconds=rng.uniform(1, 10, size=count),
        positions_m=positions_m,
    )
