"""The noise of the guarantee over a hundred million draws: normal far into its tails.

`tests/shared/training/test_rounded_gaussian.py` holds the same at two hundred thousand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from shared.training.batches import RoundKey
from shared.training.noise import KeyStream
from shared.training.rounded_gaussian import rounded_gaussian
from shared.training.whole_sum import ClippingGrid, WholeSum
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, within

SEEDS: Final = range(1, 21)
DRAWS: Final = 5_000_000
#: How far from 0 the tails are counted.
FAR: Final = (1.0, 2.0, 3.0, 4.0, 5.0)
WEIGHTS: Final = 1_000_000
#: Binary digits after the point of a standard normal number.
BITS: Final = 30
SIGMA, CLIP = 1.7, 0.6
#: Standard errors that a figure may lie off: one good figure in two million does.
ERRORS: Final = 5.0


def plan() -> Iterator[Planned]:
    """A run a seed."""
    for seed in SEEDS:
        digest = digest_of([seed, DRAWS, FAR, WEIGHTS, SIGMA, CLIP, BITS])
        yield Planned(f"seed-{seed:02d}", digest, partial(measure, seed, DRAWS, WEIGHTS))


def measure(seed: int, draws: int, weights: int, tell: Tell) -> dict[str, Any]:
    """Draw, and add up what moments and tails follow from."""
    drawn = rounded_gaussian(KeyStream(seed.to_bytes(32, "big")), draws, BITS) / 2.0**BITS
    tell("the noise of a sum", 0.7)
    sums = [float((drawn**power).sum()) for power in (1, 2, 3, 4)]
    half = draws // 2
    pairs = float(drawn[:half] @ drawn[half : 2 * half])
    far = [int((np.abs(drawn) > limit).sum()) for limit in FAR]
    added = added_noise(seed, weights)
    return {
        "draws": draws, "sums": sums, "pairs": pairs, "far": far, "largest": float(drawn.max()),
        "weights": weights, "added_squares": float((added**2).sum()),
    }  # fmt: skip


def added_noise(seed: int, weights: int) -> np.ndarray:
    """What one step releases of weights of which nobody has a gradient."""
    total = WholeSum(ClippingGrid.of(CLIP, SIGMA), weights)
    stream = RoundKey(seed, "verify", 1, "noise").stream("noise")
    return np.asarray(total.release(stream).numpy())


def judge(runs: Runs) -> list[Line]:
    """Moments, tails and independence lie within chance of the normal distribution's."""
    all_of_them = [run.figures for run in runs.values()]
    draws = sum(one["draws"] for one in all_of_them)
    moments = [sum(one["sums"][n] for one in all_of_them) / draws for n in range(4)]
    # mean and variance of the first four powers of a standard normal number
    known = ((0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0))
    names = ("mean", "variance", "third moment", "fourth moment")
    lines = []
    for name, found, (mean, variance) in zip(names, moments, known, strict=True):
        off = ERRORS * math.sqrt(variance / draws)
        lines.append(within(found, mean - off, mean + off, f"{name} of {draws:,} draws", 5))
    for place, limit in enumerate(FAR):
        share = math.erfc(limit / math.sqrt(2))
        found = sum(one["far"][place] for one in all_of_them)
        off = ERRORS * math.sqrt(draws * share)
        what = f"draws farther than {limit:g}"
        lines.append(within(found, draws * share - off, draws * share + off, what, 0))
    half = sum(one["draws"] // 2 for one in all_of_them)
    correlation, off = sum(one["pairs"] for one in all_of_them) / half, ERRORS / math.sqrt(half)
    lines.append(within(correlation, -off, off, "correlation of a draw's two numbers", 5))
    weights = sum(one["weights"] for one in all_of_them)
    spread = math.sqrt(sum(one["added_squares"] for one in all_of_them) / weights) / (SIGMA * CLIP)
    off = ERRORS / math.sqrt(2 * weights)
    what = f"noise on {weights:,} weights, over multiplier times clip"
    return [*lines, within(spread, 1 - off, 1 + off, what, 5)]


TOPIC: Final = Topic(
    "noise", "A hundred million numbers of the noise are as normal as they must be.", plan, judge
)
