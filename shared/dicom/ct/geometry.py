"""Where CT slices lie, and the grid that a series of them makes.

Patient coordinates are DICOM's: x to the left, y to the back, z to the head, in mm.
A *native* array has the axes (slice, row, column) of the series itself, slices sorted
along their normal; a *patient* array has those of `shared.records.VolumeRecord`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from shared.dicom.attributes import number_of, numbers_of, remarks_of
from shared.dicom.verdicts import SetAsideError

#: int16 voxels of one series: 1.26 GB. With what decoding needs, reading one stays below
#: 2 GB; resampling needs a second array, so half as many are taken then.
MOST_VOXELS: Final = 512 * 512 * 2400
FEWEST_SLICES: Final = 3


@dataclass(frozen=True)
class SlicePlace:
    """Where one slice lies.

    Attributes
    ----------
    position : tuple of 3 float
        Patient coordinates of the centre of pixel [0, 0], mm.
    orientation : tuple of 6 float
        Direction of growing column index, then of growing row index.
    spacing : (float, float)
        Between rows, between columns, mm.
    shape : (int, int)
        Rows, columns.
    frame : int
        Index of the frame in its file, from 0.
    """

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    frame: int = 0


def places_of(dataset: Dataset) -> tuple[SlicePlace, ...]:
    """Places of the slices of a file: one, or one for each frame of an enhanced CT.

    Raises
    ------
    SetAsideError
        If a frame does not say where it lies.
    """
    rows, columns = (int(number_of(dataset, k) or 0) for k in ("Rows", "Columns"))
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        if int(number_of(dataset, "NumberOfFrames") or 1) != 1:
            raise SetAsideError("several_frames")
        return (_place(dataset, dataset, dataset, (rows, columns), 0),)
    if len(frames) != int(number_of(dataset, "NumberOfFrames") or 1):
        raise SetAsideError("damaged", f"{len(frames)} frames described")
    return tuple(
        _place(
            functional(dataset, number, "PlanePositionSequence"),
            functional(dataset, number, "PlaneOrientationSequence"),
            functional(dataset, number, "PixelMeasuresSequence"),
            (rows, columns),
            number,
        )
        for number in range(len(frames))
    )


def functional(dataset: Dataset, frame: int, keyword: str) -> Dataset:
    """Functional group of a frame (index from 0), its own or the shared one; empty if neither."""
    own = dataset.PerFrameFunctionalGroupsSequence[frame].get(keyword)
    if own:
        return Dataset(own[0])
    shared = dataset.get("SharedFunctionalGroupsSequence")
    item = shared[0].get(keyword) if shared else None
    return Dataset(item[0]) if item else Dataset()


def _place(
    where: Dataset, turned: Dataset, measured: Dataset, shape: tuple[int, int], frame: int
) -> SlicePlace:
    """Check and gather the geometry of one frame."""
    position = numbers_of(where, "ImagePositionPatient")
    orientation = numbers_of(turned, "ImageOrientationPatient")
    spacing = numbers_of(measured, "PixelSpacing")
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
        odd = [
            *remarks_of(where, ("ImagePositionPatient",), dates=()),
            *remarks_of(turned, ("ImageOrientationPatient",), dates=()),
            *remarks_of(measured, ("PixelSpacing",), dates=()),
        ]
        raise SetAsideError("geometry_missing", "; ".join(odd))
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(across @ down) > 1e-2:
        raise SetAsideError("geometry_missing", "the directions are not at right angles")
    if not all(0.01 <= value <= 10 for value in spacing) or min(shape) < 1:
        raise SetAsideError("geometry_missing", "impossible pixel spacing")
    if max(map(abs, position)) > 1e5:
        raise SetAsideError("geometry_missing", "impossible position")
    return SlicePlace(
        (position[0], position[1], position[2]),
        (*orientation[:3], *orientation[3:]),  # type: ignore[arg-type]
        (spacing[0], spacing[1]),
        shape,
        frame,
    )


@dataclass(frozen=True)
class Stack:
    """The grid of a series.

    Attributes
    ----------
    order : tuple of int
        Indices of the given places, along the normal.
    offsets : tuple of float
        Where those slices lie along the normal, mm, ascending.
    affine : ndarray, shape (4, 4)
        From (slice, row, column), from 0, to patient coordinates, for slices at regular
        distances.
    shape : (int, int, int)
        Native shape with slices at regular distances.
    gaps, tilted : bool
        Whether slices must be interpolated, and whether the grid is not parallel to the
        patient's axes.
    """

    order: tuple[int, ...]
    offsets: tuple[float, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    gaps: bool
    tilted: bool

    @property
    def resampled(self) -> str:
        """What has to be done: empty, ``tilt``, ``gaps`` or ``gaps+tilt``."""
        return "+".join(
            name for name, is_so in (("gaps", self.gaps), ("tilt", self.tilted)) if is_so
        )

    @property
    def axes(self) -> tuple[int, int, int]:
        """Patient axis (0 = x, 1 = y, 2 = z) that each native axis is nearest to."""
        return nearest_axes(self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of the patient array, (z, y, x)."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        along = dict(zip(self.axes, lengths, strict=True))
        return tuple(round(float(along[axis]), 6) for axis in (2, 1, 0))  # type: ignore[return-value]

    @property
    def box(self) -> tuple[tuple[float, float, float], tuple[int, int, int]]:
        """Patient coordinates of voxel [0, 0, 0], and shape (Z, Y, X), of the patient array."""
        last = np.array(self.shape) - 1
        corners = np.array(
            [
                [i * last[0], j * last[1], k * last[2], 1]
                for i in (0, 1)
                for j in (0, 1)
                for k in (0, 1)
            ]
        )
        points = (self.affine @ corners.T)[:3]
        low, high = points.min(axis=1), points.max(axis=1)
        extent = (high - low)[::-1] / np.array(self.spacing_mm)
        if self.tilted:
            sizes = np.floor(extent + 1e-6).astype(int) + 1
        else:
            by_axis = dict(zip(self.axes, self.shape, strict=True))
            sizes = np.array([by_axis[2], by_axis[1], by_axis[0]])
            low = self._first_corner()
        return (float(low[0]), float(low[1]), float(low[2])), (
            int(sizes[0]), int(sizes[1]), int(sizes[2]),
        )  # fmt: skip

    def _first_corner(self) -> NDArray[np.float64]:
        """Voxel [0, 0, 0] of a patient array that is only turned."""
        index = [
            0 if self.affine[axis, native] > 0 else self.shape[native] - 1
            for native, axis in enumerate(self.axes)
        ]
        return np.asarray((self.affine @ np.array([*index, 1.0]))[:3])

    def native_view(self, patient: NDArray[Any]) -> NDArray[Any]:
        """View of a patient array with native axes; only for a grid that is not tilted."""
        turned = patient.transpose([2 - axis for axis in self.axes])
        directions = tuple(
            slice(None, None, 1 if self.affine[axis, native] > 0 else -1)
            for native, axis in enumerate(self.axes)
        )
        return turned[directions]

    def index_of(self, position: Sequence[float]) -> tuple[float, float, float]:
        """(slice, row, column) of a point in patient coordinates, among the slices as they lie."""
        found = np.linalg.solve(
            self.affine[:3, :3], np.asarray(position, float) - self.affine[:3, 3]
        )
        regular = np.linspace(self.offsets[0], self.offsets[-1], self.shape[0])
        step = regular[1] - regular[0]
        offset = self.offsets[0] + found[0] * step
        nearest = int(np.argmin(np.abs(np.array(self.offsets) - offset)))
        return nearest + (offset - self.offsets[nearest]) / step, float(found[1]), float(found[2])

    def to_patient(self, native: NDArray[Any], fill: int, *, labels: bool) -> NDArray[Any]:
        """Turn or resample a native array onto the patient grid.

        Parameters
        ----------
        native : ndarray, shape (len(order), rows, columns)
            Slices as they lie, sorted.
        fill : int
            Value outside of the slices.
        labels : bool
            Labels take the nearest voxel; otherwise linear interpolation.
        """
        if self.gaps:
            native = self._regular(native, labels=labels)
        _, shape = self.box
        if not self.tilted:
            patient = np.empty(shape, native.dtype)
            self.native_view(patient)[...] = native
            return patient
        origin, _ = self.box
        step = self.spacing_mm
        to_mm = np.array([[0, 0, step[2]], [0, step[1], 0], [step[0], 0, 0]], float)
        back = np.linalg.inv(self.affine[:3, :3])
        return np.asarray(
            ndimage.affine_transform(
                native,
                back @ to_mm,
                back @ (np.array(origin) - self.affine[:3, 3]),
                output_shape=shape,
                output=native.dtype,
                order=0 if labels else 1,
                mode="grid-constant",
                cval=fill,
            )
        )

    def _regular(self, native: NDArray[Any], *, labels: bool) -> NDArray[Any]:
        """Interpolate slices at regular distances."""
        wanted = np.linspace(self.offsets[0], self.offsets[-1], self.shape[0])
        places = np.interp(wanted, self.offsets, np.arange(len(self.offsets)))
        result = np.empty(self.shape, native.dtype)
        for index, place in enumerate(places):
            below = min(int(place), len(native) - 2)
            part = place - below
            if labels:
                result[index] = native[below + int(part > 0.5)]
            else:
                mixed = native[below] * (1 - part) + native[below + 1] * part
                result[index] = np.rint(mixed).astype(native.dtype)
        return result


def nearest_axes(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Patient axis nearest to each native axis.

    Raises
    ------
    SetAsideError
        If two are nearest to the same one.
    """
    axes = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax(axis=0)
    if len(set(axes.tolist())) != 3:
        raise SetAsideError("slices_scattered", "oblique by 45 degrees")
    return int(axes[0]), int(axes[1]), int(axes[2])
