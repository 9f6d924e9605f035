"""How sure a share is that was seen on few people: score intervals, as Newcombe compared them.

R. G. Newcombe, Statistics in Medicine 17 (1998): 857-872 for one proportion, 873-890 for the difference of two.
"""

from math import sqrt

Z = 1.959964
"""Of a normal distribution, for 95 % in the middle."""


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Give Wilson's score interval of a share, 95 %, without a correction for continuity; (0, 1) of nobody.

    >>> [round(bound, 4) for bound in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share.")
    if n == 0:
        return 0.0, 1.0
    share, spread = successes / n, Z * Z / n
    middle = share + spread / 2
    half = Z * sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def newcombe(a: int, m: int, b: int, n: int) -> tuple[float, float]:
    """Give the hybrid score interval of ``a / m - b / n``, 95 %: Newcombe's method 10.

    >>> [round(bound, 4) for bound in newcombe(56, 70, 48, 80)]
    [0.0524, 0.3339]
    """
    if not (m and n):
        return -1.0, 1.0
    first, second = a / m, b / n
    (low_1, high_1), (low_2, high_2) = wilson(a, m), wilson(b, n)
    below = sqrt((first - low_1) ** 2 + (high_2 - second) ** 2)
    above = sqrt((high_1 - first) ** 2 + (second - low_2) ** 2)
    return first - second - below, first - second + above
