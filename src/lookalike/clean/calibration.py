"""Probabilities from measures, calibrated on the data itself.

The measures of errors are known, since errors can be made: an image is compared with a label that is not its
own, a class is cut in two. The data itself is a mixture of right cases and an unknown share of errors. A
logistic model tells made errors from the data, and the share follows from the data (Saerens et al. 2002:
expectation maximisation of the prior). Cases that look like errors then count less as right ones, and the
model is fitted again.
"""

import numpy as np

ROUNDS = 6
RIDGE = 1e-3
NOMINAL = 0.05
"""Share of errors by which cases are weighted while the model is fitted."""
MOST = 0.5
"""Largest share of errors."""


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
    weights, odds = np.full(len(cases), 0.95), np.zeros(len(cases))
    for _ in range(ROUNDS):
        coefficients = _fit(cases, made, weights)
        odds = cases @ coefficients
        weights = np.maximum(1 - _probability(odds, NOMINAL), 1e-3)
    return _with_prior(odds)


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


def _with_prior(odds: np.ndarray) -> np.ndarray:
    """Probabilities from log odds at equal shares, with the share of errors that agrees with them."""
    share = NOMINAL
    for _ in range(100):
        chance = _probability(odds, share)
        new = min((float(chance.sum()) + 0.5) / (len(odds) + 1), MOST)  # half a case as the prior
        if abs(new - share) < 1e-7:
            break
        share = new
    return chance


def _probability(odds: np.ndarray, share: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(odds + np.log(share / (1 - share)), -50, 50)))
