"""A CT series holds what density, voltage, kernel and dose say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from shared.errors import PhantomError
from shared.phantom.imaging.ct.attenuation import KILOVOLTS
from shared.phantom.imaging.ct.kernel import NoiseFields, noise_power, transfer
from shared.phantom.imaging.ct.planes import profile_weights
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtProtocol, Sharpness
from shared.phantom.imaging.ct.scene import (
    ARTERIAL,
    PORTAL,
    BreathStep,
    CtScene,
    MetalPart,
    TissueLook,
)
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import LOWEST_HU, acquire
from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.distance import floats
from shared.phantom.solids.lattice import straight

from .ct_body import (
    FAT_MM,
    LOOKS,
    PLATE_HALF,
    TRUNK,
    EllipticTrunk,
    Uniform,
    cylinder,
    plate,
    scene,
)

AURORA = CT_SCANNERS["aurora"]
SMALL = CtProtocol(matrix=256, field_mm=380.0)


def taken(
    of: CtScene,
    scanner: str = "aurora",
    protocol: CtProtocol = SMALL,
    *,
    count: int = 3,
    seed: int | None = None,
    ideal: bool = False,
    centre: tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, SliceStack]:
    """HU (slices, H, W), slices about z = 0."""
    top = -(count - 1) / 2 * protocol.increment_mm
    stack = SliceStack(protocol, top, count, centre)
    rng = None if seed is None else np.random.default_rng(seed)
    made = acquire(of, CT_SCANNERS[scanner], stack, rng, ideal=ideal)
    return np.stack([one.hu for one in made]).astype(float), stack


def disk(stack: SliceStack, x: float, y: float, radius: float) -> np.ndarray:
    plane = stack.plane(0.0)
    return (plane.x[None, :] - x) ** 2 + (plane.y[:, None] - y) ** 2 < radius**2


@pytest.mark.parametrize("scanner", CT_SCANNERS)
@pytest.mark.parametrize("density", [0.06, 0.12, 0.18])
def test_the_core_has_the_hu_of_its_density(scanner: str, density: float) -> None:
    hu, stack = taken(scene(density), scanner)
    found = hu[1][disk(stack, 0, 35, 14)].mean()
    assert found == pytest.approx(CT_SCANNERS[scanner].core_hu(density, 120), abs=3)


@pytest.mark.parametrize("kvp", KILOVOLTS)
def test_and_of_the_tube_voltage_whatever_the_noise(kvp: int) -> None:
    protocol = replace(SMALL, kvp=kvp, mas=300.0)
    hu, stack = taken(scene(0.12), protocol=protocol, count=9, seed=5)
    found = hu[1:-1, disk(stack, 0, 35, 14)].mean()
    assert found == pytest.approx(AURORA.core_hu(0.12, kvp), abs=3.5)


def test_what_no_scanner_can_do_is_refused() -> None:
    with pytest.raises(PhantomError, match="matrix: 250"):
        replace(SMALL, matrix=250)
    with pytest.raises(PhantomError, match="tilt_degrees: 40"):
        replace(SMALL, tilt_degrees=40.0)


def test_two_voltages_differ_by_the_ratio_of_the_scanner() -> None:
    increments = {}
    for kvp in (80, 120):
        protocol = replace(SMALL, kvp=kvp)
        dense, stack = taken(scene(0.16), protocol=protocol, ideal=True)
        thin, _ = taken(scene(0.04), protocol=protocol, ideal=True)
        inside = disk(stack, 0, 35, 14)
        increments[kvp] = dense[1][inside].mean() - thin[1][inside].mean()
    expected = AURORA.mineral_hu(80) / AURORA.mineral_hu(120)
    assert increments[80] / increments[120] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("kernel", ["smooth", "medium", "sharp"])
def test_noise_has_the_spread_and_the_colour_of_the_kernel(kernel: Sharpness) -> None:
    protocol = CtProtocol(kernel=kernel, matrix=512, field_mm=256.0)
    water = CtScene([], EllipticTrunk(half=(120.0, 120.0), fat=0.0, texture=False), 500.0)
    stack = SliceStack(protocol, 0.0, 12)
    quiet = replace(AURORA, modulation=0.0)
    with_noise = np.stack(
        [one.hu for one in acquire(water, quiet, stack, np.random.default_rng(4))]
    ).astype(float)
    part = with_noise[:, 224:288, 224:288]
    part = part - part.mean(axis=0)
    measured = np.sqrt(part.var() * 12 / 11)
    assert measured == pytest.approx(protocol.noise_hu(quiet), rel=0.12)
    spectrum = (np.abs(np.fft.fft2(part)) ** 2).mean(axis=0)
    f = np.fft.fftfreq(64, protocol.spacing_mm)
    radius = np.hypot(f[:, None], f[None, :])
    edges = np.arange(0.06, 0.96, 0.06)
    power = [spectrum[(radius >= low) & (radius < low + 0.06)].mean() for low in edges]
    peak = edges[int(np.argmax(power))] + 0.03
    assert peak == pytest.approx(quiet.kernels[kernel].peak, abs=0.07)


def test_noise_is_drawn_anew_for_each_slice_and_not_for_each_run() -> None:
    hu, _ = taken(scene(), count=5, seed=8)
    again, _ = taken(scene(), count=5, seed=8)
    other, _ = taken(scene(), count=5, seed=9)
    assert (hu == again).all()
    quiet, _ = taken(scene(), count=5)
    inside = np.s_[100:150, 100:150]
    noise = [(one - still)[inside].ravel() for one, still in zip(hu, quiet, strict=True)]
    shared = np.corrcoef([*noise, (other - quiet)[0][inside].ravel()])
    # Texture of tissue, not noise, is alike in neighbours.
    assert np.abs(shared - np.eye(len(shared))).max() < 0.35
    assert np.abs(shared[-1, :-1]).max() < 0.1


def test_dose_and_slices_change_the_noise_as_quanta_do() -> None:
    once, four = SMALL, replace(SMALL, mas=4 * SMALL.mas)
    assert once.noise_hu(AURORA) == pytest.approx(2 * four.noise_hu(AURORA))
    thin = replace(SMALL, thickness_mm=SMALL.thickness_mm / 4)
    assert thin.noise_hu(AURORA) == pytest.approx(2 * once.noise_hu(AURORA))
    assert replace(SMALL, kvp=80).noise_hu(AURORA) > 1.5 * once.noise_hu(AURORA)


def test_a_kernel_halves_at_its_frequency_and_its_noise_peaks_at_the_other() -> None:
    f = floats(np.linspace(0, 1.2, 241))
    for scanner in CT_SCANNERS.values():
        for sharpness, kernel in scanner.kernels.items():
            mtf = transfer(f, kernel, scanner.mtf_blur_mm)
            assert mtf[0] == pytest.approx(1)
            limit = 0.75 if sharpness == "sharp" else 0.6
            assert 0.4 < np.interp(kernel.half, f, mtf) < limit
            assert f[int(np.argmax(noise_power(f, kernel)))] == pytest.approx(kernel.peak, abs=0.01)


def test_fields_of_noise_have_no_bias_and_point_where_their_rays_went() -> None:
    fields = NoiseFields(AURORA.kernels["medium"], (256, 256), 0.75, np.random.default_rng(0))
    for field in (fields.along_x, fields.along_y, fields.texture):
        assert field.mean() == pytest.approx(0, abs=1e-3)
        assert field.std() == pytest.approx(1, abs=1e-3)
    down, across = (np.diff(fields.along_y, axis=axis).std() for axis in (0, 1))
    assert down > 1.3 * across


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 70.0])
@pytest.mark.parametrize("thickness", [1.0, 2.5, 5.0])
def test_a_leaning_plate_keeps_its_mass_in_slices(degrees: float, thickness: float) -> None:
    """Partial volume: sums over slices are the plate's volume times what it adds, to 2 %."""
    of = CtScene([plate(degrees)], Uniform(0.0), 500.0, marrow_fat=0.5)
    protocol = CtProtocol(
        matrix=128, field_mm=130.0, thickness_mm=thickness, increment_mm=thickness
    )
    count = int(np.ceil(115 / thickness))
    hu, _ = taken(of, protocol=protocol, count=count, ideal=True)
    base, _ = taken(replace(of, bones=[]), protocol=protocol, count=1, ideal=True)
    volume = protocol.spacing_mm**2 * thickness
    total = (hu - base[0]).sum() * volume
    expected = (AURORA.core_hu(0.4, 120) - base[0, 64, 64]) * 4 * PLATE_HALF**2 * 4.0
    assert total == pytest.approx(expected, rel=0.02)


def test_a_slice_sees_a_thin_plate_by_its_profile() -> None:
    """A 1 mm plate in a slice of 5 mm is a fifth of itself."""
    of = CtScene([plate(0.0, thickness=1.0)], Uniform(0.0), 500.0)
    hu, _ = taken(
        of, protocol=CtProtocol(matrix=128, field_mm=90.0, thickness_mm=5.0, increment_mm=5.0),
        ideal=True,
    )  # fmt: skip
    outside = hu[1, 5, 5]
    assert hu[1, 64, 64] - outside == pytest.approx(
        (AURORA.core_hu(0.4, 120) - outside) / 5, rel=0.05
    )


@pytest.mark.parametrize(("thickness", "increment"), [(3, 3), (5, 2.5), (1, 1), (2, 3)])
def test_profiles_are_balanced(thickness: float, increment: float) -> None:
    each = max(1, int(np.ceil(increment / 1.6)))
    weights = profile_weights(thickness, increment, each)
    thick = increment / each
    assert sum(weight for _, weight in weights) == pytest.approx(1, abs=5e-3)
    middle = sum((offset + 0.5) * thick * weight for offset, weight in weights)
    assert middle == pytest.approx(increment / 2, abs=0.02)


def line_of(hu: np.ndarray, scanner_slope: float, background: float, spacing: float) -> np.ndarray:
    """Areal mineral along y of ideal slices, g/cm²: (slices, W)."""
    return np.asarray((hu - background).sum(axis=1) / scanner_slope * spacing / 10)


@pytest.mark.parametrize("thickness", [1.25, 3.0])
def test_line_integrals_are_those_of_a_dxa_lattice(thickness: float) -> None:
    bones = [cylinder(0.15, half=13.0, cortex=0.5)]
    # Tissue that has the HU of marrow: what is over it is mineral alone.
    marrow = AURORA.core_hu(0.0, 120) - AURORA.offset_hu
    of = CtScene(bones, Uniform(marrow), 500.0)
    protocol = CtProtocol(
        matrix=256, field_mm=160.0, thickness_mm=thickness, increment_mm=thickness
    )
    count = int(36 / thickness)
    hu, stack = taken(of, protocol=protocol, count=count, ideal=True, centre=(0.0, 35.0))
    along = line_of(hu, AURORA.mineral_hu(120), hu[0, 0, 0], protocol.spacing_mm)
    lattice = straight(
        floats(np.arange(-20, 20, 0.6)), floats(np.arange(-30, 30, 1.05)),
        floats(np.arange(10, 60, 1.0)),
    )  # fmt: skip
    areal = mineral_of(bones, lattice).sum(axis=2) * 0.1  # g/cm²
    total_ct = along.sum() * protocol.spacing_mm * thickness
    total_dxa = areal.sum() * 0.6 * 1.05
    assert total_ct == pytest.approx(total_dxa, rel=0.02)
    # And line by line in the middle of the bone.
    x = np.abs(stack.steps()) < 12
    middle = along[count // 2 - 1 : count // 2 + 1][:, x].mean()
    columns = np.abs(np.arange(-30, 30, 1.05)) < 12
    rows = np.abs(np.arange(-20, 20, 0.6)) < 3
    assert middle == pytest.approx(areal[np.ix_(rows, columns)].mean(), rel=0.02)


def test_contrast_agent_is_in_vessels_and_a_little_in_the_core() -> None:
    plain, stack = taken(scene(organs=True))
    shifts = {}
    for phase in (ARTERIAL, PORTAL):
        hu, _ = taken(replace(scene(organs=True), contrast=phase))
        shifts[phase.name] = (hu - plain)[1]
    core, aorta, liver = (
        disk(stack, *where) for where in ((0, 35, 12), (14, 2, 7), (-75, -10, 20))
    )
    for shift in shifts.values():
        assert 5 <= shift[core].mean() <= 20
    assert 200 < shifts["arterial"][aorta].mean() < 350
    assert 90 < shifts["portal venous"][aorta].mean() < 180
    assert shifts["portal venous"][liver].mean() > 3 * shifts["arterial"][liver].mean()
    drunk, _ = taken(replace(scene(organs=True), oral=True))
    assert (drunk - plain)[1][disk(stack, 45, -45, 15)].mean() > 150


def test_a_breath_moves_what_comes_after_it() -> None:
    of = replace(scene(), breaths=[BreathStep(5, (0.0, 0.0, 0.0), (0.0, 8.0, 0.0))])
    hu, stack = taken(of, count=9, ideal=True)
    centres = [
        (stack.plane(0.0).y[:, None] * (one > 250)).sum() / (one > 250).sum() for one in hu[1:-1]
    ]
    assert np.mean(centres[5:]) - np.mean(centres[:3]) == pytest.approx(8, abs=0.5)


def test_metal_saturates_and_leaves_streaks() -> None:
    rod = replace(cylinder(0.0, centre=(0.0, -20.0, 0.0), radius=8.0, half=25.0), name="rod")
    of = replace(scene(), metals=[MetalPart(rod, "titanium")])
    hu, stack = taken(of)
    plain, _ = taken(scene())
    assert hu[1][disk(stack, 0, -20, 4)].min() > 3000
    assert np.abs((hu - plain)[1][disk(stack, 40, -20, 15)]).mean() > 3


def test_the_table_lies_under_the_patient() -> None:
    hu, stack = taken(scene(), count=1)
    y = stack.plane(0.0).y
    under = (y > TRUNK[1] + FAT_MM + 6) & (y < TRUNK[1] + FAT_MM + 30)
    assert hu[0, under, 128].max() > -700
    prone, other = taken(
        replace(scene(), back_y=-(TRUNK[1] + FAT_MM)), protocol=replace(SMALL, position="HFP"),
        count=1,
    )  # fmt: skip
    # A patient on the belly is turned, the table is below in the picture all the same.
    assert prone[0, under, 128].max() > -700
    assert other.orientation()[0] == -1
    back = prone[0, ::-1, ::-1]
    inside = disk(stack, 0, 0, 80)
    assert np.abs(back - hu[0])[inside].mean() < 3


def test_a_tilted_gantry_sees_the_body_along_its_plane() -> None:
    protocol = replace(SMALL, tilt_degrees=20.0)
    hu, stack = taken(scene(), protocol=protocol, count=9, ideal=True)
    found = []
    for index, one in enumerate(hu):
        plane = stack.plane(stack.z_of(index))
        rows, columns = np.nonzero(one > 250)
        found.append(np.stack([plane.x[columns], plane.y[rows], plane.z[rows]]))
    points = np.concatenate(found, axis=1)
    # The shell of the cylinder, where the world has it: radius 20 about (0, 35), z to ±14.
    assert np.abs(points[2]).max() < 16.5
    side = np.abs(points[2]) < 10
    radius = np.hypot(points[0], points[1] - 35)[side]
    assert radius.max() < 22
    assert radius.min() > 16.5


def test_each_slice_knows_its_bones() -> None:
    near, far = cylinder(0.12, half=5.0), cylinder(0.12, centre=(0.0, 35.0, 18.0), half=5.0)
    of = replace(scene(), bones=[far, near])
    stack = SliceStack(SMALL, -9.0, 13)
    seen = list(acquire(of, AURORA, stack, None))
    area = np.pi * 20**2 / SMALL.spacing_mm**2
    by_slice = [np.bincount(one.bones.ravel(), minlength=3)[1:] for one in seen]
    assert by_slice[3] == pytest.approx([0, area], rel=0.03)
    assert by_slice[9] == pytest.approx([area, 0], rel=0.03)
    assert sum(by_slice[6]) == 0


def test_a_small_field_sees_the_rays_of_the_whole_body() -> None:
    found = []
    for field_mm in (380.0, 180.0):
        protocol = replace(SMALL, field_mm=field_mm)
        hu, stack = taken(scene(0.18), protocol=protocol, centre=(0.0, 20.0))
        noisy, _ = taken(scene(0.18), protocol=protocol, centre=(0.0, 20.0), seed=1)
        inside = disk(stack, 0, 35, 13)
        found.append((hu[1][inside].mean(), (noisy - hu)[:, inside].std()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1.5)
    assert found[0][1] == pytest.approx(found[1][1], rel=0.2)


def test_nothing_is_reconstructed_outside_the_circle() -> None:
    hu, _ = taken(scene(), count=1, seed=1)
    assert hu[0, 0, 0] == LOWEST_HU
    assert hu[0, 128, 0] > LOWEST_HU - 1


def test_slices_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    trunk = EllipticTrunk()

    class Counting:
        looks: Sequence[TissueLook] = LOOKS

        def codes(self, plane):  # type: ignore[no-untyped-def]
            asked.append(1)
            return trunk.codes(plane)

    stack = SliceStack(SMALL, -60.0, 40)
    slices = acquire(replace(scene(), tissues=Counting()), AURORA, stack, None)
    next(slices)
    assert len(asked) <= 5
