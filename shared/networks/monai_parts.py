"""The parts of MONAI that are used, loaded without what MONAI would load beside them.

``import monai`` loads all of MONAI, and with it every optional package that happens to be
installed: MLflow, pandas, matplotlib and more, for readers, writers and handlers that nothing
here uses. Two things keep that out of every process of a hospital:

- MONAI goes on without what it does not find, so optional packages are hidden from it while
  it loads. They can be imported as always before and after, and meanwhile by other threads.
- The networks need a tenth of MONAI. The packages that they lie in are empty while they load
  (`HOLLOW`), and are filled as soon as anybody imports MONAI or asks them for more.
  The transforms, which only training needs, load all of it at their first use.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

#: What MONAI looks for and does without.
OPTIONAL: Final = frozenset(
    {
        "PIL", "ignite", "itk", "jsonschema", "matplotlib", "mlflow", "nibabel", "pandas",
        "pydicom", "scipy.optimize", "scipy.signal", "scipy.sparse", "scipy.stats", "skimage",
        "sklearn", "tensorboard", "transformers",
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
        hidden = name in OPTIONAL or name.partition(".")[0] in OPTIONAL
        if hidden and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"{name} is not loaded with MONAI", name=name)


@contextlib.contextmanager
def _hidden() -> Iterator[None]:
    finder = _Hidden()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Filling(importlib.abc.Loader):
    """Finder and loader that let the hollow packages become what they should have been.

    They stay the same objects, since the modules that were loaded inside them hold them.
    """

    def __init__(self) -> None:
        self.packages: dict[str, ModuleType] = {}
        self.loaders: dict[str, importlib.abc.Loader] = {}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        if name not in self.packages:
            return None
        places = list(self.packages[name].__path__)
        return importlib.util.spec_from_file_location(
            name, self.packages[name].__file__, loader=self, submodule_search_locations=places
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.packages[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        vars(module).pop("__getattr__", None)
        self.loaders[module.__name__].exec_module(module)

    def hollow(self, name: str) -> ModuleType:
        """Make a package that runs nothing; asked for what it has not, it is filled."""
        spec = importlib.util.find_spec(name)  # loads what it lies in
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
        package = importlib.util.module_from_spec(spec)

        def fill(word: str) -> Any:
            if word.startswith("__") or name in sys.modules:  # hollow still, or half loaded
                raise AttributeError(f"module {name!r} has no attribute {word!r}")
            _load_all()
            return getattr(package, word)

        vars(package)["__getattr__"] = fill
        self.packages[name], self.loaders[name] = package, spec.loader
        return package


@contextlib.contextmanager
def _hollow() -> Iterator[None]:
    """Let the packages of `HOLLOW` be empty while something inside them loads."""
    filling = _Filling()
    try:
        for name in HOLLOW:
            sys.modules[name] = filling.hollow(name)
            if name == "monai":  # one of its modules asks for this
                vars(sys.modules[name])["__version__"] = version(name)
        from monai.networks.blocks.acti_norm import ADN

        vars(sys.modules["monai.networks.blocks"])["ADN"] = ADN  # and another for this
        yield
    finally:
        for name in HOLLOW:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, filling)


def _load_all() -> None:
    with _alone, _hidden():
        import monai  # noqa: F401


with _hidden(), contextlib.nullcontext() if "monai" in sys.modules else _hollow():
    from monai.networks.layers.factories import Conv
    from monai.networks.nets.densenet import DenseNet
    from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
    from monai.networks.nets.unet import UNet
    from monai.networks.utils import pixelunshuffle

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
    _load_all()
    with _alone, _hidden():
        from monai import transforms
        from monai.transforms.utils import equalize_hist
    found = equalize_hist if name == "equalize_hist" else getattr(transforms, name)
    globals()[name] = found
    return found


__all__ = [
    "Conv",
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
    "pixelunshuffle",
]
