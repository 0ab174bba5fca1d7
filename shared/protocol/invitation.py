"""Which coordinator a site was enrolled with: its address, its certificate, its public key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from shared.errors import ConfigError
from shared.protocol.signatures import Invitation

COORDINATOR: Final = "coordinator.json"


def pinned_coordinator(folder: Path) -> Invitation | None:
    """Read whom the site was enrolled with, or who simulates with it; None if nobody.

    Raises
    ------
    ConfigError
        If the file is damaged: then nothing is answered.
    """
    path = folder / COORDINATOR
    try:
        return Invitation.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError):
        raise ConfigError(
            f"{path}: is not an invitation; enrol again with the coordinator's invitation.json"
        ) from None
