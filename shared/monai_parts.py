"""The parts of MONAI that are used, loaded without what MONAI would load beside them.

``import monai`` loads all of MONAI, and with it every optional package that happens to be
installed: MLflow, pandas, matplotlib and more, for readers, writers and handlers that nothing
here uses. Two things keep that out of every process of a hospital:

- MONAI goes on without what it does not find, so optional packages are hidden from it while
  it loads. They can be imported as always before and after, and meanwhile by other threads.
- The networks need a tenth of MONAI. The packages that they lie in are empty while they load
  (`HOLLOW`), and are gone afterwards, so that whoever imports MONAI then gets all of it.
  The transforms, which only training needs, load all of it at their first use.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

#: What MONAI looks for and does without.
OPTIONAL: Final = frozenset(
    {
        "ignite", "itk", "matplotlib", "mlflow", "nibabel", "pandas", "skimage", "sklearn",
        "tensorboard", "transformers",
    }
)  # fmt: skip
#: Packages of MONAI whose own start loads far more than the networks, outer ones first.
HOLLOW: Final = ("monai", "monai.apps", "monai.networks.blocks", "monai.networks.nets")
_alone = threading.RLock()


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


@contextlib.contextmanager
def _hollow() -> Iterator[None]:
    """Let the packages of `HOLLOW` be empty while something inside them loads."""
    try:
        for name in HOLLOW:
            spec = importlib.util.find_spec(name)  # loads what it lies in
            if spec is None:
                raise ModuleNotFoundError(f"no module named {name!r}", name=name)
            sys.modules[name] = importlib.util.module_from_spec(spec)
            if name == "monai":  # one of its modules asks for this
                vars(sys.modules[name])["__version__"] = version(name)
        from monai.networks.blocks.acti_norm import ADN

        vars(sys.modules["monai.networks.blocks"])["ADN"] = ADN  # and another for this
        yield
    finally:
        for name in HOLLOW:
            sys.modules.pop(name, None)


with _hidden(), contextlib.nullcontext() if "monai" in sys.modules else _hollow():
    from monai.networks.nets.densenet import DenseNet
    from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
    from monai.networks.nets.unet import UNet

if TYPE_CHECKING:
    from monai.transforms import (
        RandAdjustContrast,
        RandAffine,
        RandGaussianNoise,
        RandGaussianSmooth,
    )
    from monai.transforms.utils import equalize_hist


def __getattr__(name: str) -> Any:
    """Load what only training needs, and all of MONAI with it, at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _alone, _hidden():
        import monai
        from monai import transforms
        from monai.transforms.utils import equalize_hist

        _join(monai.__name__)
    found = equalize_hist if name == "equalize_hist" else getattr(transforms, name)
    globals()[name] = found
    return found


def _join(package: str) -> None:
    """Let every outer package know the modules inside it that were loaded before it."""
    for name, module in sorted(sys.modules.items()):
        outer, _, inner = name.rpartition(".")
        known = sys.modules.get(outer)
        if name.startswith(f"{package}.") and known is not None and not hasattr(known, inner):
            setattr(known, inner, module)


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
