"""Core-sets: rows that leave no other row far from all of them."""

import numpy as np
from numpy.typing import NDArray


def unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of embeddings (N, E) at length 1; a row of zeros stays one."""
    # in double: the squares of a float32 need not fit one
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    return np.divide(embeddings, np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def known(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows (N,) of embeddings (N, E) are known: not all zeros."""
    return np.asarray(np.any(embeddings, axis=1))


def k_centre(embeddings: NDArray[np.float32], covered: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return min(k, N) rows in the order of picking: each is the farthest from all covered and picked before it.

    Greedy k-centre, the core-set of Sener and Savarese 2018 (arXiv 1708.00489), with Euclidean distances. embeddings: (N, E).
    covered: (M, E), what is labelled already; where M is 0 the first row is picked first. Equal distances go by row. Memory
    O(N E): distances are taken row by row and without BLAS, so that neither threads nor the order of rows change a pick.
    """
    nearest = np.full(len(embeddings), np.inf, np.float32)
    difference = np.empty_like(embeddings)

    def cover(centre: NDArray[np.float32]) -> None:
        np.subtract(embeddings, centre, out=difference)
        np.minimum(nearest, np.einsum("ne,ne->n", difference, difference), out=nearest)

    for centre in covered:
        cover(centre)

    picked: list[int] = []
    for _ in range(min(k, len(embeddings))):
        row = int(np.argmax(nearest))
        picked.append(row)
        cover(embeddings[row])
        nearest[row] = -1.0
    return np.array(picked, np.intp)
