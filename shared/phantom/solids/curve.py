"""A long thin bone as a curve with an oval section: asked directly, without a template.

The curve is a polyline of a few dozen pieces. A point's nearest piece follows from the nearest
vertex; along a piece the section changes evenly, and past the ends it closes as half an
ellipsoid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .distance import Floats, floats, length

#: Every so many vertices are looked at first.
_STRIDE: Final = 4
#: Further from its widest section than this a bone is taken for round, mm.
_NEAR: Final = 2.5


@dataclass(frozen=True)
class OvalCurve:
    """Distance and traits of a bone along a curve, in its own frame.

    Attributes
    ----------
    vertices : ndarray of float32, shape (V, 3)
        Middle of the bone from end to end, evenly spaced, mm.
    table, change : ndarray of float32, shapes (V, 11 + traits) and (V - 1, 11 + traits)
        Vertex, the section's two axes as unit vectors across the curve, its half widths along
        them in mm, then the traits; and how these change to the next vertex.
    """

    vertices: Floats
    table: Floats
    change: Floats

    def at(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Rows (N, 4 + traits) for points: distance in mm, its unit gradient, then traits."""
        points = np.stack([x, y, z], axis=1)
        piece, share = self._piece(points)
        away = points - _rows(self.vertices, piece)
        away -= share[:, None] * _rows(self.change[:, :3], piece)
        far = length(away)
        found = np.zeros((len(points), 4 + self.table.shape[1] - 11), np.float32)
        found[:, 0] = far - self.table[:, 9:11].max()
        found[:, 1:4] = away
        found[:, 1:4] /= np.maximum(far, np.float32(1e-3))[:, None]
        near = np.flatnonzero(found[:, 0] < _NEAR)
        if len(near):
            found[near] = self._section(away[near], piece[near], share[near])
        return found

    def _piece(self, points: Floats) -> tuple[np.ndarray, Floats]:
        """Number of the piece nearest to points (N, 3), and where on it, in [0, 1]."""
        coarse = self.vertices[::_STRIDE]
        score = points @ coarse.T
        score -= np.float32(0.5) * (coarse**2).sum(axis=1)
        edges = self.change[:, :3]
        over = edges / (edges**2).sum(axis=1)[:, None]
        start = (self.vertices[:-1] * over).sum(axis=1)
        last = len(edges) - 1
        piece = np.minimum(score.argmax(axis=1) * _STRIDE, last)
        # Along the curve as far as the point lies beyond the vertex, twice.
        for _ in range(2):
            share = np.einsum("ij,ij->i", points, _rows(over, piece)) - start[piece]
            piece = np.clip(piece + np.floor(share).astype(np.int32), 0, last)
        share = np.einsum("ij,ij->i", points, _rows(over, piece)) - start[piece]
        return piece, np.clip(share, 0, 1)

    def _section(self, away: Floats, piece: np.ndarray, share: Floats) -> Floats:
        """Rows for points whose way (N, 3) from a place on a piece is known."""
        edges = self.change[:, :3]
        edge = _rows(edges / length(edges)[:, None], piece)
        rows = _rows(self.change, piece)
        rows *= share[:, None]
        rows += _rows(self.table, piece)
        axes = (rows[:, 3:6], rows[:, 6:9], edge)
        halves = (rows[:, 9], rows[:, 10], np.minimum(rows[:, 9], rows[:, 10]))
        # First-order distance to an ellipsoid.
        q, slope = np.zeros((2, len(away)), np.float32)
        gradient = np.zeros_like(away)
        for axis, half in zip(axes, halves, strict=True):
            part = np.einsum("ij,ij->i", away, axis) / half
            q += part * part
            part /= half
            slope += part * part
            gradient += part[:, None] * axis
        q, slope = np.sqrt(q), np.sqrt(slope)
        # In the very middle the slope is lost: there the way out is the smaller half width.
        middle = slope < 1e-4
        slope[middle] = 1
        found = np.empty((len(away), 4 + rows.shape[1] - 11), np.float32)
        found[:, 0] = np.where(middle, -halves[2], q * (q - 1) / slope)
        found[:, 1:4] = gradient / slope[:, None]
        found[:, 4:] = rows[:, 11:]
        return found


def _rows(table: Floats, numbers: np.ndarray) -> Floats:
    """Rows of a table; in half the time of brackets, for the numbers are not checked."""
    return np.take(table, numbers, axis=0, mode="clip")


def oval_curve(vertices: Floats, upright: Floats, halves: Floats, traits: Floats) -> OvalCurve:
    """Curve with a section.

    Parameters
    ----------
    vertices : ndarray of float32, shape (V, 3)
        Middle of the bone from end to end, mm; they are moved along it to even distances.
    upright : ndarray of float32, shape (V, 3)
        Roughly the direction of the section's first axis; what lies along the curve is taken out.
    halves : ndarray of float32, shape (V, 2)
        Half widths along the first and the second axis, mm.
    traits : ndarray of float32, shape (V, traits)
        Cortex thickness in mm, core as a share.
    """
    way = np.concatenate([[0], np.cumsum(length(np.diff(vertices, axis=0)))])
    even = np.linspace(0, way[-1], len(way))
    columns = np.concatenate([vertices, upright, halves, traits], axis=1)
    columns = floats(np.stack([np.interp(even, way, column) for column in columns.T], axis=1))
    vertices, upright = columns[:, :3], columns[:, 3:6]
    along = floats(np.gradient(vertices, axis=0))
    along = along / length(along)[:, None]
    first = upright - (upright * along).sum(axis=1)[:, None] * along
    first = first / length(first)[:, None]
    second = np.cross(along, first)
    table = floats(np.concatenate([vertices, first, second, columns[:, 6:]], axis=1))
    return OvalCurve(table[:, :3], table, floats(np.diff(table, axis=0)))
