"""Opacus's formulas for Rényi divergence, without the rest of Opacus.

``import opacus`` loads torch with its distributed tensors and all of `scipy.stats`, which takes
longer than any command that only asks what was spent. The formulas are one file of Opacus
that needs numpy and `scipy.special`; it is loaded alone.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

#: The module in Opacus.
NAME: Final = "opacus.accountants.analysis.rdp"


def _load() -> ModuleType:
    """Take the module where Opacus is loaded already, else its file alone."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    package = importlib.util.find_spec("opacus")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("no module named 'opacus'", name="opacus")
    file = Path(package.origin).parent.joinpath(*NAME.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(NAME, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{file}: cannot be loaded", name=NAME)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Under Opacus's own name: whoever imports Opacus later finds this one, not a second.
    return sys.modules.setdefault(NAME, module)


rdp = _load()
