"""The data contracts that the site has been given, as far as their files tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

CONTRACTS: Final = "contracts"


def contracts(folder: Path) -> list[dict[str, Any]]:
    """Tasks for which the site keeps a contract: ``<site>/contracts/<task>.json``."""
    return [{"task": path.stem} for path in sorted((folder / CONTRACTS).glob("*.json"))]
