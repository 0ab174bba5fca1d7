"""How a site or a coordinator is made: its signing key, and the chain that the key begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.audit.chain import Chain, head_path
from shared.audit.keys import make_key, read_key
from shared.runtime.files import settle


@contextmanager
def begun(path: Path, actor: str, identity: Path) -> Iterator[Chain]:
    """Make a party: its signing key and the chain that the key begins.

    The key gets its name when the block is done. So whoever has a key has had a chain, and
    is given no other when it is gone; a crash on the way is mended by the same call again.

    Parameters
    ----------
    path : Path
        The chain.
    actor : str
        Who writes it.
    identity : Path
        File of the key.

    Yields
    ------
    Chain
        Empty, or as far as a call that was cut short had come.

    Raises
    ------
    FileExistsError
        If the party has a key: an identity is never overwritten.
    PlaceholderSecretError
        If there is a chain, but its key is gone.
    """
    if identity.exists():
        raise FileExistsError(f"{identity}: is there already")
    new = unfinished(identity)
    if not head_path(path).exists() and not (path.exists() and path.stat().st_size):
        new.unlink(missing_ok=True)  # it has signed nothing, and may be half written
    elif not new.exists():
        read_key(identity)  # which is not there, and says so
    chain = Chain(path, actor, read_key(new) if new.exists() else make_key(new))
    chain.begin()
    yield chain
    new.replace(identity)
    settle(identity.parent)


def unfinished(identity: Path) -> Path:
    """Where the key stands while its party is being made."""
    return identity.with_name(f"{identity.name}.new")
