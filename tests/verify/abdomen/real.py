"""Outlines on a real CT of L3 that nothing was tuned on, by networks of digital patients alone.

The crop holds no body's outline and no ribs or sacrum, so its level is given; outlines are found
through the task, as a report's are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.findings.completion import blind
from shared.findings.findings import Findings
from shared.metrics.overlap import dice
from shared.records import Covariates, StudyLabels, StudyRecord, Vendor, VolumeRecord
from shared.regions import code_of
from shared.tasks import make_task
from shared.tasks.reading import Reading
from tests.verify.abdomen.arms import START, networks_of
from tests.verify.abdomen.cast import SEEDS, settings_of, training_digest
from tests.verify.stored import ROOT, Stored, digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TASK: Final = "ct-segmentation"
LEVEL: Final = "L3"
#: Labels of the crop's middle vertebra, and of a vertebral body among its parts.
OWN: Final = 22
BODY: Final = 49
CROP: Final = Path("ct_l3_crop")
COMPARED: Final = (START, "federated", "private")
OUT: Final = ROOT / "docs" / "images" / "ct-l3-real.png"


def plan() -> Iterator[Planned]:
    """A run a seed and way of training, where the real images are."""
    root = os.environ.get("OSTEOFED_REAL_DATA")
    for seed in SEEDS:
        for arm in COMPARED:
            told = digest_of([training_digest(seed), arm])
            yield Planned(f"{arm}.seed-{seed}", told, partial(_run, root, seed, arm))


def _run(root: str | None, seed: int, arm: str, tell: Tell) -> dict[str, Any]:
    if not root:
        raise SystemExit("OSTEOFED_REAL_DATA is not set: the folder with the real images")
    study, truth = read_crop(Path(root) / CROP)
    found = outlined(study, seed, arm, tell)
    slices = np.flatnonzero(found.any((1, 2)))
    return {
        "dice": dice_of(found, truth), "slices": len(slices),
        "drawn_mm2": float(truth[slices].sum() * np.prod(study.volumes["ct"].spacing_mm[1:])),
    }  # fmt: skip


def read_crop(folder: Path) -> tuple[StudyRecord, NDArray[np.bool_]]:
    """The crop as a study with its middle slice marked, and which voxels are L3's."""
    import nibabel

    def upright(name: str) -> tuple[NDArray[Any], tuple[float, float, float]]:
        image = nibabel.as_closest_canonical(nibabel.load(folder / name))  # right, front, up
        across, deep, high = (float(size) for size in image.header.get_zooms())
        array = np.asarray(image.dataobj).transpose(2, 1, 0)  # up, front, right
        # front to back and right to left, as patient axes go; nibabel's go the other way
        return array[:, ::-1, ::-1], (high, deep, across)

    hu, spacing = upright("sub-ct_label-22_ct.nii.gz")
    vertebrae, _ = upright("sub-ct_seg-vert_label-22_msk.nii.gz")
    parts, _ = upright("sub-ct_seg-subreg_label-22_msk.nii.gz")
    body = (vertebrae == OWN) & (parts == BODY)
    middle = round(float(np.average(np.arange(len(body)), weights=body.sum((1, 2)))))
    volume = VolumeRecord(
        np.ascontiguousarray(hu, np.int16), spacing, slice_thickness_mm=spacing[0],
        marked_slices={LEVEL: middle},
    )  # fmt: skip
    study = StudyRecord("", "", Vendor.OTHER, {}, StudyLabels(), Covariates(), {"ct": volume})
    return study, vertebrae == OWN


def outlined(study: StudyRecord, seed: int, arm: str, tell: Tell) -> NDArray[np.bool_]:
    """What a network outlines of L3, on the grid of the crop."""
    task, network = make_task(settings_of(TASK)), networks_of(seed, arm, tell)[TASK]
    volume = study.volumes["ct"]
    marks = Findings(marked_slices={"ct": volume.marked_slices})
    found = task.find(Reading(network, blind(study), StudyLabels(), marks))
    regions = found.volume_maps.get("ct", np.zeros(volume.hu.shape, np.uint8))
    return np.asarray(regions == code_of(LEVEL, "volume"))


def dice_of(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice on the slices that were outlined, 0 without any."""
    slices = found.any((1, 2))
    if not slices.any():
        return 0.0
    ours, theirs = found[slices], truth[slices]
    return dice(float((ours & theirs).sum()), float(ours.sum()), float(theirs.sum()))


def judge(runs: Runs) -> list[Line]:
    """Nothing must hold: the figure is told as it is."""
    lines = []
    for arm in COMPARED:
        some = [one for key, one in runs.items() if key.startswith(f"{arm}.")]
        if some:
            lines.append(Line(f"Dice of L3, {arm}", _range(some), "as it is", True))
    return lines


def _range(runs: Sequence[Stored]) -> str:
    found = sorted(float(one.figures["dice"]) for one in runs)
    return f"{np.mean(found):.3f} ({found[0]:.3f} to {found[-1]:.3f}, {len(found)} seeds)"


def draw(root: Path, seed: int, arm: str, out: Path) -> None:
    """Draw what was outlined, and what is drawn, on the slices of the four slabs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    study, truth = read_crop(root / CROP)
    found = outlined(study, seed, arm, lambda *_: None)
    slices = np.flatnonzero(found.any((1, 2)))
    shown = slices[np.linspace(len(slices) - 1, 0, 4).round().astype(int)]
    figure, axes = pyplot.subplots(1, 4, figsize=(16, 4.4))
    for one, place in zip(axes, shown, strict=True):
        _draw_slice(one, study.volumes["ct"].hu[place], found[place], truth[place])
    figure.tight_layout()
    figure.savefig(out, dpi=80)
    pyplot.close(figure)


def _draw_slice(
    axes: Axes, hu: NDArray[np.int16], found: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> None:
    axes.imshow(hu, cmap="gray", vmin=-150, vmax=600)
    for mask, colour in ((truth, "tab:cyan"), (found, "tab:orange")):
        if mask.any() and not mask.all():
            axes.contour(mask, [0.5], colors=[colour], linewidths=1.5)
    axes.set_axis_off()


TOPIC: Final = Topic(
    "ct-real", "Outlines on a real CT of L3, by networks of digital patients alone.",
    plan, judge, None, ROOT / "docs" / "abdominal-ct.md",
)  # fmt: skip

if __name__ == "__main__":
    draw(Path(os.environ["OSTEOFED_REAL_DATA"]), SEEDS[0], "federated", OUT)
