"""What is worn lies on the skin, and what was left behind lies in the body."""

from __future__ import annotations

import numpy as np
import pytest

from shared.phantom.imaging.dxa.objects import CLOTHES, place_objects
from shared.phantom.solids.implants import shares_of
from shared.phantom.solids.lattice import straight
from tests.shared.phantom.imaging.bodies import anatomy


@pytest.mark.parametrize("kind", [*CLOTHES, "piercing", "clips"])
def test_objects_are_where_such_things_are(kind: str) -> None:
    body = anatomy(0)
    found = place_objects([kind], body.tissues, body.skeleton.size, np.random.default_rng(3))
    assert found
    low, high = (np.array(corner) for corner in body.tissues[0].box)
    for one in found:
        x, y, z = (np.full(1, value, np.float32) for value in one.centre)
        inside = bool(body.tissues[0].inside(x, y, z)[0])
        if kind == "clips":
            assert inside, one.name
        else:
            assert not inside, one.name
            assert np.all(one.centre > low - 12)
            assert np.all(one.centre < high + 12)
    behind = found[0].centre[1] > body.skeleton.spine["L3"].centre[1]
    assert behind == (kind == "hooks")


@pytest.mark.parametrize("kind", [*CLOTHES, "piercing"])
def test_they_are_as_large_as_such_things_are(kind: str) -> None:
    body = anatomy(0)
    for one in place_objects([kind], body.tissues, 1.0, np.random.default_rng(3)):
        reach = np.arange(-one.reach - 2, one.reach + 2, 0.7, dtype=np.float32)
        x, y, z = one.centre
        lattice = straight(z + reach, x + reach, np.arange(y - 8, y + 8, 0.7, dtype=np.float32))
        (share,) = shares_of([one], lattice).values()
        millilitres = float(share.sum()) * 0.7**3 / 1000
        assert 0.005 < millilitres < 2.5, one.name
