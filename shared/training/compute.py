"""Where and how fast: settings that cannot change what privacy is promised."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Self

from shared.errors import ConfigValueError, PolicyRefusedError
from shared.settings.files import SiteCompute


@dataclass(frozen=True)
class Compute:
    """Device and its use.

    Attributes
    ----------
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        Threads of one process on the CPU. With a GPU they prepare the next batches while
        it computes.
    physical_batch_patients : int
        Patients that are computed at a time; a step is split into as many pieces
        as needed, with the same result up to rounding.
    mixed_precision : bool
        bfloat16 on a GPU, for all training and evaluation.
    until : float
        When it has to be given up, by `time.monotonic`.
    """

    device: str = "cpu"
    threads: int = 1
    physical_batch_patients: int = 16
    mixed_precision: bool = False
    until: float = math.inf

    def go_on(self) -> None:
        """Refuse to compute longer than is allowed; asked before each piece of work.

        Raises
        ------
        PolicyRefusedError
            If time is up.
        """
        if time.monotonic() > self.until:
            raise PolicyRefusedError(
                "what was asked took longer than this hospital allows (site.yaml: "
                "policy.maximum_hours_per_request); ask for fewer steps or smaller images"
            )

    @classmethod
    def from_settings(cls, settings: SiteCompute) -> Self:
        """Choose the device that a site's settings ask for.

        Raises
        ------
        ConfigValueError
            If ``cuda`` is asked for and there is none.
        """
        device = choose_device(settings.device, "compute.device")
        return cls(
            device=device,
            threads=settings.threads,
            physical_batch_patients=settings.physical_batch_patients,
            mixed_precision=settings.mixed_precision and device == "cuda",
        )


def choose_device(wanted: str, setting: str = "--device") -> str:
    """Turn ``auto`` into ``cuda`` where there is one, else ``cpu``.

    Parameters
    ----------
    wanted : str
        ``auto``, ``cpu`` or ``cuda``.
    setting : str
        Where it was asked for, as an error calls it.

    Raises
    ------
    ConfigValueError
        If it is none of them, or ``cuda`` where there is none.
    """
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigValueError(f"{setting}: {wanted!r} (must be auto, cpu or cuda)")
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigValueError(
            f"{setting}: 'cuda' (no CUDA device is available here; use 'auto' or 'cpu')"
        )
    return "cuda" if available and wanted != "cpu" else "cpu"
