"""Display shutters: what lies behind them was not exposed or is covered (PS3.3 C.7.6.11)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.dicom.attributes import number_of, numbers_of, text_of
from shared.dicom.verdicts import SetAsideError

EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)


def outside_shutter(dataset: Dataset, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Pixels behind the shutter; several shapes leave what lies within all of them.

    Parameters
    ----------
    dataset : Dataset
        The attributes; rows and columns in them count from 1.
    shape : (int, int)
        Rows, columns.

    Returns
    -------
    ndarray of bool, shape (H, W), or None
        None if there is no shutter.

    Raises
    ------
    SetAsideError
        If a shutter does not say where it is.
    """
    shapes = {word.strip().upper() for word in text_of(dataset, "ShutterShape").split("\\")} - {""}
    if not shapes:
        return None
    rows, columns = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    outside = np.zeros(shape, bool)
    for name in sorted(shapes):
        if name == "RECTANGULAR":
            edges = [number_of(dataset, edge) for edge in EDGES]
            if any(edge is None for edge in edges):
                raise SetAsideError("lut_unsupported", "shutter without edges")
            top, bottom, left, right = (float(edge or 0) for edge in edges)
            outside |= (rows <= top) | (rows >= bottom) | (columns <= left) | (columns >= right)
        elif name == "CIRCULAR":
            centre = numbers_of(dataset, "CenterOfCircularShutter")
            radius = number_of(dataset, "RadiusOfCircularShutter")
            if len(centre) != 2 or radius is None:
                raise SetAsideError("lut_unsupported", "shutter without centre")
            outside |= np.hypot(rows - centre[0], columns - centre[1]) > radius
        elif name == "POLYGONAL":
            outside |= ~_inside_polygon(numbers_of(dataset, "VerticesOfThePolygonalShutter"), shape)
        else:
            raise SetAsideError("lut_unsupported", f"shutter {name[:12]}")
    return outside


def _inside_polygon(numbers: list[float], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels within a polygon, given as row, column, row, column, ... from 1."""
    if len(numbers) < 6 or len(numbers) % 2 or len(numbers) > 2000:
        raise SetAsideError("lut_unsupported", "shutter without vertices")
    from PIL import Image, ImageDraw

    picture = Image.new("1", (shape[1], shape[0]))
    points = [
        (column - 1, row - 1) for row, column in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    ImageDraw.Draw(picture).polygon(points, fill=1, outline=1)
    return np.asarray(picture, dtype=bool)
