"""Probabilities from measures, calibrated on the data itself.

The measures of errors are known, since errors can be made: an image is compared with a label that is not its
own, a class is cut in two. The data itself is a mixture of right cases and an unknown share of errors. A
logistic model tells made errors from the data. The share follows from the cases that look most like errors:
if few right cases do, there are as many errors as the part of the data beyond a bound, divided by the part of
the made errors beyond it (Garg et al. 2021, arXiv:2111.00980). Cases that look like errors then count less as
right ones, and the model is fitted again.
"""

import numpy as np

ROUNDS = 8
RIDGE = 1e-3
NOMINAL = 0.05
"""Smallest share of errors by which cases are weighted while the model is fitted."""
MOST = 0.5
"""Largest share of errors."""
TAILS = np.arange(0.1, 0.91, 0.05)
"""Parts of the made errors that lie beyond a bound."""


def calibrate(data: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The probability that each case of the data is an error, [N].

    Args:
        data: measures of the cases, finite, [N, M].
        errors: measures of errors that were made, finite, [E, M].
    """
    if not len(data) or not len(errors):
        return np.zeros(len(data))
    mean, spread = np.median(data, 0), np.maximum(data.std(0), 1e-6)
    cases, made = _with_constant((data - mean) / spread), _with_constant((errors - mean) / spread)
    weights, odds, share = np.full(len(cases), 0.95), np.zeros(len(cases)), NOMINAL
    for _ in range(ROUNDS):
        coefficients = _fit(cases, made, weights)
        odds = cases @ coefficients
        share = share_of_errors(odds, made @ coefficients)
        weights = np.maximum(1 - _probability(odds, max(share, NOMINAL)), 1e-3)
    return _probability(odds, share)


def share_of_errors(odds: np.ndarray, made: np.ndarray) -> float:
    """The share of the cases with these odds, [N], that are errors, given the odds of made errors, [E].

    The lowest of the bounds that each part of the made errors gives, one standard error included.
    """
    bounds = np.quantile(made, 1 - TAILS)
    beyond = (odds[:, None] >= bounds).mean(0)
    deviation = np.sqrt(beyond * (1 - beyond) / len(odds) + (0.5 / len(odds)) ** 2)
    return float(np.min((beyond + deviation) / (made[:, None] >= bounds).mean(0), initial=MOST))


def _with_constant(measures: np.ndarray) -> np.ndarray:
    clipped = np.clip(measures, -8, 8)
    return np.concatenate([clipped, np.ones((len(measures), 1))], 1)


def _fit(cases: np.ndarray, made: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression; both sides have the same total weight."""
    inputs = np.concatenate([cases, made])
    target = np.r_[np.zeros(len(cases)), np.ones(len(made))]
    weight = np.r_[weights / weights.sum(), np.full(len(made), 1 / len(made))]
    coefficients = np.zeros(inputs.shape[1])
    penalty = RIDGE * np.eye(inputs.shape[1]) * np.r_[np.ones(inputs.shape[1] - 1), 1e-3]
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ coefficients, -30, 30)))
        gradient = inputs.T @ (weight * (chance - target)) + penalty @ coefficients
        curvature = (
            inputs * (weight * np.maximum(chance * (1 - chance), 1e-6))[:, None]
        ).T @ inputs + penalty
        step = np.linalg.solve(curvature, gradient)
        coefficients -= np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def _probability(odds: np.ndarray, share: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(odds + np.log(share / (1 - share)), -50, 50)))
