"""Where and how fast: settings that cannot change what privacy is promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from shared.config import SiteCompute
from shared.errors import ConfigValueError


@dataclass(frozen=True)
class Compute:
    """Device and its use.

    Attributes
    ----------
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        Threads of one process on the CPU.
    physical_batch_patients : int
        Patients that are computed at a time; a step is split into as many pieces
        as needed, with the same result up to rounding.
    mixed_precision : bool
        bfloat16 on a GPU; plain training and evaluation only.
    """

    device: str = "cpu"
    threads: int = 1
    physical_batch_patients: int = 16
    mixed_precision: bool = False

    @classmethod
    def from_settings(cls, settings: SiteCompute) -> Self:
        """Choose the device that a site's settings ask for.

        Raises
        ------
        ConfigValueError
            If ``cuda`` is asked for and there is none.
        """
        import torch

        available = torch.cuda.is_available()
        if settings.device == "cuda" and not available:
            raise ConfigValueError(
                "compute.device: 'cuda' (no CUDA device is available here; use 'auto' or 'cpu')"
            )
        device = "cuda" if available and settings.device != "cpu" else "cpu"
        return cls(
            device=device,
            threads=settings.threads,
            physical_batch_patients=settings.physical_batch_patients,
            mixed_precision=settings.mixed_precision and device == "cuda",
        )
