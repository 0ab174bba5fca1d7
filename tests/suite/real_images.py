"""Real images: where they are, and the mark of tests that need them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

_NAMED: Final = os.environ.get("OSTEOFED_REAL_DATA")
#: Folder of the real images; tests that have the mark find it there.
REAL_IMAGES: Final = Path(str(_NAMED))
needs_real_images = pytest.mark.skipif(
    _NAMED is None, reason="set OSTEOFED_REAL_DATA to the folder of real images"
)
