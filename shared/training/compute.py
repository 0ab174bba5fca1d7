"""Where and how fast: settings that cannot change what privacy is promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from shared.config import SiteCompute
from shared.errors import ConfigError, ConfigValueError


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


def choose_device(wanted: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is one, else ``cpu``.

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device: {wanted!r} (must be auto, cpu or cuda)")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: cuda, but this machine has no CUDA device (use cpu or auto)")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
