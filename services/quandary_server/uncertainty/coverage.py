"""How far predicted variances of the box can be believed. Arrays are (D detections, P box parameters)."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


def total_variance(aleatoric: Array, epistemic: Array) -> Array:
    """Return the sum (D, P) of aleatoric and epistemic variances (D, P): the law of total variance (arXiv 1703.04977, eq. 9).

    Raises ValueError for differing shapes, and for variances that are negative or not finite.
    """
    if aleatoric.shape != epistemic.shape or aleatoric.ndim != 2:
        raise ValueError(f"aleatoric {aleatoric.shape} and epistemic {epistemic.shape} variances must both be (D, P)")
    if not all((part >= 0).all() and np.isfinite(part).all() for part in (aleatoric, epistemic)):
        raise ValueError("both parts of the variance must be finite and at least 0")
    return aleatoric + epistemic


def interval_coverage(errors: Array, variances: Array, level: float) -> Array:
    """Return the share (P,) of errors (D, P) inside the central Gaussian interval of that level; `level` is what it should be.

    variances: (D, P), in squared units of the errors. Raises ValueError for no detections, wrong shapes, errors that are not
    finite, variances that are not positive, and a level outside of (0, 1).
    """
    _check(errors, variances, least=1)
    if not 0 < level < 1:
        raise ValueError(f"the level must be in (0, 1), got {level}")
    reach = stats.norm.ppf((1 + level) / 2)
    return np.asarray((np.abs(errors) <= reach * np.sqrt(variances)).mean(axis=0))


def gaussian_nll(errors: Array, variances: Array) -> Array:
    """Return the negative log-likelihood (D, P) in nats of errors (D, P) under central normals of variances (D, P).

    Of a density: it may be negative, and it shifts with the unit of the errors. No detections have no NLLs. Raises ValueError
    otherwise as `interval_coverage` does.
    """
    _check(errors, variances, least=0)
    return np.asarray(0.5 * (np.log(2 * np.pi * variances) + errors**2 / variances))


def fit_variance_scales(errors: Array, variances: Array) -> Array:
    """Return the factors (P,) for variances (D, P) at which the Gaussian NLL of errors (D, P) is least: the mean of e^2 / v.

    Above 1 the variances were too small. Raises ValueError as `interval_coverage` does, and
    where a parameter's errors are all 0: no positive factor is best.
    """
    _check(errors, variances, least=1)
    scales = (errors**2 / variances).mean(axis=0)
    if not (scales > 0).all():
        raise ValueError(f"all errors of parameter {int(scales.argmin())} are 0: its variances have no best scale")
    return np.asarray(scales)


def _check(errors: Array, variances: Array, least: int) -> None:
    if errors.ndim != 2 or errors.shape != variances.shape:
        raise ValueError(f"errors {errors.shape} and variances {variances.shape} must both be (D, P)")
    if len(errors) < least:
        raise ValueError(f"needs at least {least} detection, there is {len(errors)}")
    if not np.isfinite(errors).all():
        raise ValueError("errors must be finite")
    if not ((variances > 0) & (variances < np.inf)).all():
        raise ValueError(f"variances must be positive and finite, the least is {variances.min()}")
