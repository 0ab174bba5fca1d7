"""The bones of the chest and the shoulders, fitted to one another around a placed spine.

Ribs begin at the vertebrae; the sternum stands where their ends want it; the scapulae lie behind
them, and the clavicles join both. World frame, mm: x to the patient's left, y to the back, z to
the feet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from shared.phantom.person.person import Person

from .bone import Bone
from .bones.chest import MANUBRIUM, SLANT, place_scapula, place_sternum
from .bones.humerus import LENGTH, place_humerus
from .bones.rib import place_clavicle, place_rib
from .curve import OvalCurve
from .distance import Floats, floats, vector
from .spine import SpineBody
from .texture import Texture, moved

SIDES: Final = {"left": 1, "right": -1}
#: From the front of T2/T3 to the middle of the manubrium, between which the ribs choose; how far
#: the sternum stands before their ends; and where the cartilages of ribs meet it, down from the
#: jugular notch; mm, men [U].
INLETS: Final = (50.0, 82.0)
BEFORE_RIBS: Final = 7.0
COSTAL_NOTCHES: Final = {
    "2": 49.0, "3": 74.0, "4": 97.0, "5": 117.0, "6": 134.0, "7": 148.0,
}  # fmt: skip
#: Slope of the manubrium's lower end to the front, radians, within which the ribs choose.
SLOPES: Final = (0.15, 0.75)
#: From the middle to a socket of the shoulder, mm, men [U], arms beside; raised arms turn the
#: scapulae (radians) and lift them (mm).
SHOULDER: Final = 150.0
RAISED: Final = (0.35, 26.0)
#: Upper and lower medial corner of a scapula from its socket, mm (`bones.chest`), and the muscle
#: between it and the ribs, mm.
CORNERS: Final = ((-84.0, 44.0, -44.0), (-76.0, 54.0, 104.0))
BEHIND_RIBS: Final = 9.0
#: Where a clavicle ends: on the manubrium, in its frame, and on the acromion, from the socket, mm.
STERNAL_END: Final = (25.0, 0.0, 1.0)
ACROMIAL_END: Final = (18.0, 14.0, -36.0)
#: Middle of the humerus's head from the socket, mm, men [U]; a raised arm leans inwards by a
#: share of its length, one beside the trunk ends this far beside it, mm.
HEAD_FROM_SOCKET: Final = (25.0, -2.0, 0.0)
RAISED_LEAN: Final = 0.12
BESIDE_TRUNK: Final = 44.0


def place_thorax(
    person: Person, spine: Mapping[str, SpineBody], grain: Texture, *, raised: bool
) -> tuple[Bone, ...]:
    """Ribs, sternum, scapulae, clavicles and humeri of a person.

    Parameters
    ----------
    person : Person
        Whose.
    spine : mapping of str to SpineBody
        Placed.
    grain : callable
        The person's trabecular texture.
    raised : bool
        Whether the arms are above the head.
    """
    ribs = _ribs(person, spine, grain)
    sternum = _sternum(person, spine, ribs, moved(grain, (0.0, 47.0, 9.0)))
    scapulae = _scapulae(person, spine, ribs, moved(grain, (53.0, 0.0, 21.0)), raised=raised)
    size, own = person.sizes.overall, person.bones["clavicles"]
    clavicles = []
    for (side, sign), scapula in zip(SIDES.items(), scapulae, strict=True):
        mirror = vector(sign, 1, 1)
        inner = sternum.centre + sternum.rotation @ (vector(*STERNAL_END) * mirror) * size
        outer = scapula.centre + scapula.rotation @ vector(*ACROMIAL_END) * np.float32(size)
        clavicles.append(
            place_clavicle(
                floats(inner), floats(outer), left=side == "left", size=size, cortex=own.cortex,
                core=own.core, texture=moved(grain, (3.0, 71.0, 37.0)),
            )
        )  # fmt: skip
    humeri = _humeri(person, spine, scapulae, grain, raised=raised)
    return (*ribs, sternum, *scapulae, *clavicles, *humeri)


def along(bone: Bone) -> Floats:
    """Middle of a curved bone in the world, mm, shape (V, 3).

    Raises
    ------
    TypeError
        If it is no curve.
    """
    if not isinstance(bone.template, OvalCurve):
        raise TypeError(f"{bone.name} (must be a bone along a curve)")
    return floats(bone.template.vertices @ bone.rotation.T + bone.centre)


def _ribs(person: Person, spine: Mapping[str, SpineBody], grain: Texture) -> list[Bone]:
    own, sizes = person.bones["ribs"], person.sizes
    found = []
    for side, sign in SIDES.items():
        for number in range(1, 14):
            length = person.variants.ribs.get(f"{side}_{number}", 1.0 if number < 12 else 0.0)
            level = f"T{number}" if number < 13 else "L1"
            if length <= 0 or level not in spine:
                continue
            body = spine[level]
            beside = vector(
                sign * (body.shape.width / 2 + 1), body.shape.depth / 2, -3 * sizes.overall
            )
            head = floats(body.centre + body.rotation @ beside)
            found.append(
                place_rib(
                    number, head, left=side == "left", size=sizes.chest_width,
                    deep=sizes.chest_depth / sizes.chest_width, droop=sizes.rib_droop,
                    short=length, cortex=own.cortex, core=own.core, texture=grain,
                )
            )  # fmt: skip
    return found


def _sternum(
    person: Person, spine: Mapping[str, SpineBody], ribs: Sequence[Bone], grain: Texture
) -> Bone:
    """The sternum below the inlet of the chest, as deep and as steep as the ribs' ends want it."""
    size, own = person.sizes.overall, person.bones["sternum"]
    above, below = spine["T2"], spine["T3"]
    spine_y = float(above.centre[1] + below.centre[1]) / 2 - above.shape.depth / 2
    shallow, deep = (spine_y - inlet * size for inlet in INLETS)
    depths, down = [], []
    for number, place in COSTAL_NOTCHES.items():
        ends = [along(bone)[-1, 1] for bone in ribs if bone.name.split("_")[1] == number]
        if ends:
            depths.append(float(np.mean(ends)) - BEFORE_RIBS * size)
            down.append(place * size)
    way = np.array(down)
    back = SLANT * np.maximum(way - MANUBRIUM * size, 0)

    def fitted(slope: float) -> tuple[float, float]:
        """How far from the ribs a slope leaves it at best, and the notch's depth for that."""
        turned = math.cos(slope) * back - math.sin(slope) * way
        notch = float(np.clip(np.mean(depths - turned), deep, shallow))
        return float(np.square(notch + turned - depths).sum()), notch

    slope = min(np.linspace(*SLOPES, 16).tolist(), key=lambda one: fitted(one)[0])
    middle = vector(
        float(above.centre[0]), fitted(slope)[1], float(above.centre[2] + below.centre[2]) / 2
    )
    return place_sternum(middle, slope, size, cortex=own.cortex, core=own.core, texture=grain)


def _scapulae(
    person: Person,
    spine: Mapping[str, SpineBody],
    ribs: Sequence[Bone],
    grain: Texture,
    *,
    raised: bool,
) -> list[Bone]:
    """Scapulae flat on the ribs behind, their sockets beside T3."""
    size, own = person.sizes.overall, person.bones["scapulae"]
    turn, lift = RAISED if raised else (0.0, 0.0)
    cos, sin = math.cos(turn), math.sin(turn)
    points = np.concatenate([along(bone) for bone in ribs])
    found = []
    for side, sign in SIDES.items():
        x = float(spine["T3"].centre[0]) + sign * (SHOULDER - lift / 2) * size
        z = float(spine["T3"].centre[2]) - (8 + lift) * size
        about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        upper, lower = floats(CORNERS) * np.float32(size) @ floats(about_y.T)
        depths = [
            _behind(points, x + sign * float(corner[0]), z + float(corner[2]), size)
            for corner in (upper, lower)
        ]
        # Leaning as the ribs behind do, and as far back as they reach.
        lean = math.atan2(depths[1] - depths[0], float(lower[2] - upper[2]))
        lean -= math.atan2(float(lower[1] - upper[1]), float(lower[2] - upper[2]))
        y = depths[0] - float(upper[1]) * math.cos(lean) - float(upper[2]) * math.sin(lean)
        found.append(
            place_scapula(
                vector(x, y, z), size, left=side == "left", turn=turn, lean=lean,
                cortex=own.cortex, core=own.core, texture=grain,
            )
        )  # fmt: skip
    return found


def _humeri(
    person: Person,
    spine: Mapping[str, SpineBody],
    scapulae: Sequence[Bone],
    grain: Texture,
    *,
    raised: bool,
) -> list[Bone]:
    """Humeri from the sockets upwards, or down beside the trunk."""
    size, own = person.sizes.overall, person.bones["humeri"]
    long = LENGTH * size
    found = []
    for (side, sign), scapula in zip(SIDES.items(), scapulae, strict=True):
        head = scapula.centre + vector(sign, 1, 1) * vector(*HEAD_FROM_SOCKET) * np.float32(size)
        if raised:
            way = vector(-sign * RAISED_LEAN, -0.10, -1)
        else:
            trunk = person.composition.trunk_width / 2 + BESIDE_TRUNK * size
            aside = max(trunk - abs(float(head[0] - spine["L3"].centre[0])), 0.0) / long
            way = vector(sign * min(aside, 0.4), 0.05, 1)
        elbow = floats(head + way * np.float32(long / np.linalg.norm(way)))
        found.append(
            place_humerus(
                floats(head), elbow, left=side == "left", size=size, cortex=own.cortex,
                core=own.core, texture=moved(grain, (61.0, 5.0, 29.0)),
            )
        )  # fmt: skip
    return found


def _behind(points: Floats, x: float, z: float, size: float) -> float:
    """Depth y behind the ribs near a place, with the muscle between, mm."""
    away = np.hypot(points[:, 0] - np.float32(x), points[:, 2] - np.float32(z))
    near = points[away < max(28 * size, float(away.min()) + 1)]
    return float(near[:, 1].max()) + (3.3 + BEHIND_RIBS) * size
