"""Networks that a probe found to mix no patients: asked about once a hospital."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: In the site folder. A digest a line; a line that is cut short is none.
KNOWN: Final = "known-networks.txt"


class KnownHere:
    """The digests of one site folder; only a hospital's own processes write them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / KNOWN

    def __contains__(self, digest: str, /) -> bool:
        """Whether it was found good."""
        try:
            return digest in self._path.read_text(encoding="ascii", errors="replace").split("\n")
        except OSError:
            return False

    def add(self, digest: str, /) -> None:
        """Keep that it was found good; what cannot be written is asked about again."""
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return
        with os.fdopen(file, "a", encoding="ascii") as lines:
            lines.write(f"\n{digest}\n")
