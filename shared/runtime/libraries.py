"""The libraries that answering a message takes, loaded before the processes that answer.

Importing them takes seconds; a process that is forked of one that has them pays nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

#: Where the code stands that samples and maps follow from: what reads a store, and all that is
#: made of it.
PLACES: Final = ("shared", "client/store")


@cache
def versions_of(*programs: str) -> tuple[str, ...]:
    """Name programs with their versions, as digests of what follows from them hold them."""
    return tuple(f"{name} {version(name)}" for name in programs)


@cache
def code_digest() -> str:
    """Digest of the code that runs, as it is when this is first asked: `digest_of_code`.

    A version stays the same while a program is worked on; what is made by changed code has
    another digest.
    """
    return digest_of_code(Path(__file__).resolve().parents[2])


def digest_of_code(root: Path) -> str:
    """SHA-256 over the source in `PLACES` below a folder, by name."""
    digest = hashlib.sha256()
    for path in sorted(path for place in PLACES for path in (root / place).rglob("*.py")):
        source = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root)}|{source}\n".encode())
    return digest.hexdigest()


def load_libraries() -> None:
    """Import what answering a message imports, of others' packages.

    What is missing or broken is left to the process that answers, which says so.
    """
    with contextlib.suppress(Exception):
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
        import pydantic  # noqa: F401
        import safetensors.numpy  # noqa: F401
        import sqlalchemy.orm  # noqa: F401
        import yaml  # noqa: F401
    with contextlib.suppress(Exception):
        import torch  # noqa: F401

        from shared.networks.monai_parts import RandAffine  # noqa: F401  (and all of MONAI with it)
