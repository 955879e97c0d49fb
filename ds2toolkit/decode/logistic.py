"""Logistic regression of a few features, by Newton's method."""

from dataclasses import dataclass

import numpy as np

MAX_STEPS = 50


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(weight . x + bias)))."""

    weight_F: np.ndarray
    bias: float

    def __call__(self, features_NF: np.ndarray) -> np.ndarray:
        """(N,) probabilities."""
        return 1 / (1 + np.exp(-np.clip(features_NF @ self.weight_F + self.bias, -500, 500)))


def fit(features_NF: np.ndarray, labels_N: np.ndarray, penalty: float) -> Logistic:
    """The weights with the largest likelihood less penalty / 2 * |weight|^2 over standardised features.

    The penalty keeps weights finite where a plane parts the labels; it must be above zero.
    """
    mean_F, std_F = features_NF.mean(axis=0), np.maximum(features_NF.std(axis=0), 1e-9)
    x_NF = np.column_stack([(features_NF - mean_F) / std_F, np.ones(len(features_NF))])
    ridge_FF = penalty * np.diag([1.0] * (x_NF.shape[1] - 1) + [1e-6])
    weight_F = np.zeros(x_NF.shape[1])
    for _ in range(MAX_STEPS):
        p_N = Logistic(weight_F, 0.0)(x_NF)
        slope_F = x_NF.T @ (labels_N - p_N) - ridge_FF @ weight_F
        step_F = np.linalg.solve((x_NF.T * (p_N * (1 - p_N))) @ x_NF + ridge_FF, slope_F)
        weight_F = weight_F + step_F / max(1.0, np.abs(step_F).max() / 2)  # far steps overshoot where p is near 0 or 1
        if np.abs(step_F).max() < 1e-8:
            break
    weight_F[:-1] /= std_F
    return Logistic(weight_F[:-1], float(weight_F[-1] - weight_F[:-1] @ mean_F))
