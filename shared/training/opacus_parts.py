"""Opacus's formulas for Rényi divergence, without the rest of Opacus.

``import opacus`` loads torch with its distributed tensors (and sympy) and all of `scipy.stats`,
which takes longer than any command that only asks what was spent. The formulas are one file of
Opacus that needs numpy and `scipy.special`; it is loaded alone, unchanged, under Opacus's own
name: whoever imports Opacus later finds this one, not a second.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

PACKAGE: Final = "opacus"
FORMULAS: Final = "opacus.accountants.analysis.rdp"


def part(name: str) -> ModuleType:
    """Give a module of Opacus: the one that is loaded already, else its file alone.

    Parameters
    ----------
    name : str
        Full name of a module, not of a package, that needs no other of Opacus.

    Raises
    ------
    ModuleNotFoundError
        If Opacus is not installed, or has no such module.
    """
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"no module named {PACKAGE!r}", name=PACKAGE)
    file = Path(package.origin).parent.joinpath(*name.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ModuleNotFoundError(f"{file}: cannot be loaded", name=name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sys.modules.setdefault(name, module)


rdp = part(FORMULAS)
