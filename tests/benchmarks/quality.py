"""Sensitivity and specificity of the quality flags: ``python -m tests.benchmarks.quality SEED N``.

Digital patients of another seed than the thresholds were set on (101). A clean image counts
against a flag if it raises it; a patient who lies turned counts for rotation only.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable

from shared.phantom.anatomy import WRONG_ROTATION
from shared.quality import RAISED, strengths_of
from shared.records import Vendor, View
from tests.quality_cases import CLEAN, Case, cases

#: Flags that count as having found what was planted. A field that lies wrong is one fault
#: with two names: how far it is off decides which.
FOUND_BY = {
    "motion": ("motion",),
    "metal:clip": ("metal",),
    "metal:cage": ("metal",),
    "cut_off": ("cut_off", "wrong_level"),
    "wrong_level": ("cut_off", "wrong_level"),
    "saturation": ("saturation",),
    "rotation": ("rotation",),
}
#: A line of the table: scanner, view, what was planted.
Key = tuple[str, View, str]


def rates(found: Iterable[Case]) -> dict[Key, tuple[int, int, int, int]]:
    """Count by scanner, view and fault: planted and found, clean and accused.

    Returns
    -------
    dict
        To (found, planted, accused, clean).
    """
    counts: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for case in found:
        strengths = strengths_of(case.shown, case.view, Vendor(case.scanner))
        turned = abs(case.rotation) > WRONG_ROTATION["spine_pa"]
        for fault, flags in FOUND_BY.items():
            known = [flag for flag in flags if flag in strengths]
            if not known:
                continue
            raised = any(strengths[flag] >= RAISED for flag in known)
            line = counts[case.scanner, case.view, fault]
            if fault == case.planted or (fault == "rotation" and turned):
                line[0] += raised
                line[1] += 1
            elif case.planted == CLEAN and not turned:
                line[2] += raised
                line[3] += 1
    return {key: (a, b, c, d) for key, (a, b, c, d) in counts.items() if b}


def main(seed: int, patients: int) -> None:
    """Print the table."""
    write = sys.stdout.write
    write("| scanner | view | fault | found | false alarms |\n")
    write("| --- | --- | --- | --- | --- |\n")
    for (scanner, view, fault), line in sorted(rates(cases(seed, range(patients))).items()):
        found, planted, accused, clean = line
        write(
            f"| {scanner} | {view.value} | {fault} | {found / planted:.0%} of {planted} "
            f"| {accused / max(clean, 1):.0%} of {clean} |\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
