"""How colours are moved to those of other pictures, for layouts and for palettes."""

import numpy as np


def transport(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Give the matrix (C, C) that moves colours of covariance ``source`` to ``target``, both (C, C), and least.

    The linear map between two normal distributions, about their means: ``A^(−½) (A^½ B A^½)^½ A^(−½)`` with the
    covariances A, which must be regular, and B (Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping
    for example-based colour transfer", 2007).
    """
    spread = _square_root(source)
    back = np.linalg.inv(spread)
    return back @ _square_root(spread @ target @ spread) @ back


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """Give the square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
