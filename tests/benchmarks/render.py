"""Render digital patients in one process: ``python -m tests.benchmarks.render NUMBER``."""

import sys

from shared.phantom.imaging.scanner import SCANNERS
from shared.phantom.population import POPULATIONS
from shared.phantom.study import render_study


def main(number: int) -> None:
    """Render `number` patients, three views each."""
    for patient in range(number):
        render_study(patient, 1, SCANNERS["lunar"], POPULATIONS["urban"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
