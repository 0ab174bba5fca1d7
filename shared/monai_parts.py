"""The parts of MONAI that are used, loaded without what MONAI would load beside them.

``import monai`` loads all of MONAI, and with it every optional package that happens to be
installed: MLflow, pandas, matplotlib and more, half of its time, in every process of a
hospital, for readers, writers and handlers that nothing here uses. MONAI goes on without
what it does not find, so those are hidden from it while it loads. They can be imported as
always before and after, and meanwhile by other threads.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Final

#: What MONAI looks for and does without.
OPTIONAL: Final = frozenset(
    {
        "ignite", "itk", "matplotlib", "mlflow", "nibabel", "pandas", "skimage", "sklearn",
        "tensorboard", "transformers",
    }
)  # fmt: skip


class _Hidden:
    """Finder that finds none of the optional packages, for one thread."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name.partition(".")[0] in OPTIONAL and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"{name} is not loaded with MONAI", name=name)


@contextlib.contextmanager
def _hidden() -> Iterator[None]:
    finder = _Hidden()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _hidden():
    from monai.networks.nets import DenseNet, ResNet, UNet
    from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
    from monai.transforms import (
        RandAdjustContrast,
        RandAffine,
        RandGaussianNoise,
        RandGaussianSmooth,
    )
    from monai.transforms.utils import equalize_hist

__all__ = [
    "DenseNet",
    "RandAdjustContrast",
    "RandAffine",
    "RandGaussianNoise",
    "RandGaussianSmooth",
    "ResNet",
    "ResNetBlock",
    "ResNetBottleneck",
    "UNet",
    "equalize_hist",
]
