"""Opacus's formulas for Rényi divergence, and its optimiser, without the rest of Opacus.

``import opacus`` loads torch with its distributed tensors (and sympy) and all of `scipy.stats`,
which takes longer than any command that only asks what was spent, and as long as torch itself
in every process that trains. The formulas are one file of Opacus that needs numpy and
`scipy.special`, the optimiser is one that needs torch; each is loaded alone, unchanged, under
Opacus's own name: whoever imports Opacus later finds this one, not a second.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

PACKAGE: Final = "opacus"
FORMULAS: Final = "opacus.accountants.analysis.rdp"
OPTIMISER: Final = "opacus.optimizers.optimizer"
#: The optimiser names distributed tensors in annotations only, which nobody evaluates.
ONLY_NAMED: Final = {"torch.distributed.tensor": SimpleNamespace(DTensor=None)}


def part(name: str) -> ModuleType:
    """Give a module of Opacus: the one that is loaded already, else its file alone.

    Parameters
    ----------
    name : str
        Full name of a module, not of a package.

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
    # Of this one file's imports only: those of everybody else are as ever.
    module.__dict__["__builtins__"] = vars(builtins) | {"__import__": _import}
    spec.loader.exec_module(module)
    return sys.modules.setdefault(name, module)


def _import(name: str, *where: Any, **named: Any) -> Any:
    """Import for a part of Opacus: its own modules alone too, and nothing for a mere name."""
    if name in ONLY_NAMED and name not in sys.modules:
        return ONLY_NAMED[name]
    if name.startswith(f"{PACKAGE}."):
        return part(name)
    return builtins.__import__(name, *where, **named)


rdp = part(FORMULAS)
