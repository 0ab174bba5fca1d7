"""What runs in place of Flower's ``flwr-clientapp``: approved code, or none.

Flower unpacks whatever bundle comes with a message and runs it. Here the digest of the
bundle is looked up first, in what the hospital's engineer approved; any other is answered
with an error, written into the audit chain, and nothing of it is unpacked. What runs was
unpacked and compiled when it was approved, and every file is compared with its digest of
then: unpacking and compiling it for each message took half a second. The code that answers
is the bundle's: nothing of this installation's own packages stays loaded. Where exactly one
bundle is approved, it is loaded before a message comes (`load_approved`, in the process that
`client.node.prefork_server` forks its children of), any other for the message. If Flower is not as
this program knows it, it ends before it takes a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: Names the site folder; `client.node.join` sets it.
SITE: Final = "OSTEOFED_SITE"
#: Exit code of an end without any answer; `client.node.prefork_server` then has the node begin
#: anew.
CRASHED: Final = 97
LIST: Final = Path("approved", "approved.json")
EDITABLE: Final = "_EditableFinder"
_SET_ASIDE: Final[list[Any]] = []
OURS: Final = ("client", "server", "shared")


@dataclass(frozen=True)
class Loaded:
    """A bundle whose code this process has loaded, and where that stands."""

    digest: str
    place: Path


def list_digest(folder: Path) -> str:
    """SHA-256 of the list of approved code as it stands; empty if it cannot be read."""
    try:
        return hashlib.sha256((folder / LIST).read_bytes()).hexdigest()
    except OSError:
        return ""


def load_approved(folder: Path) -> Loaded | None:
    """Load the approved code, so that no message has to.

    Only where one bundle is approved and no other: a process that has loaded one bundle
    answers no message of another. The files are compared before and after they are loaded.

    Parameters
    ----------
    folder : Path
        The site folder.

    Returns
    -------
    Loaded or None
        None if it is not to be loaded or cannot be: a message that needs it says why.
    """
    loaded: Loaded | None = None
    try:
        approved = _approved(folder)
        if len(approved) != 1:
            return None
        [(digest, files)] = approved.items()
        place = _place(folder, digest, files)
        if place is None:
            return None
        loaded = Loaded(digest, place)
        _use_nothing_else()
        sys.path.insert(0, str(place))
        # Our bundles answer with this module; what it imports only then, it may load now.
        getattr(importlib.import_module("client.app"), "load", lambda: None)()
        if _files(place) == files:
            return loaded
    except (Exception, SystemExit):
        with contextlib.suppress(OSError):
            _log(folder)
    _forget(loaded)
    return None


def main(arguments: list[str], loaded: Loaded | None = None) -> int:
    """Answer one message with approved code.

    Parameters
    ----------
    arguments : list of str
        As Flower gives them to ``flwr-clientapp``.
    loaded : Loaded, optional
        What `load_approved` gave.
    """
    folder = Path(os.environ[SITE])
    try:
        _run(arguments, folder, loaded)
    except Exception:
        # Flower throws away what its programs print.
        _log(folder)
        return CRASHED
    return 0


def _log(folder: Path) -> None:
    """Leave the error that is being handled in the hospital's own log."""
    with (folder / "node" / "start_app.log").open("a", encoding="utf-8") as file:
        traceback.print_exc(file=file)


def _run(arguments: list[str], folder: Path, loaded: Loaded | None) -> None:
    from flwr.supernode.cli import flwr_clientapp

    # By their full names: a package gives the function of the same name instead.
    runtime: Any = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    loading: Any = importlib.import_module("flwr.clientapp.utils")
    _allow_only_approved(runtime, loading, folder, loaded)
    sys.argv = ["flwr-clientapp", *arguments]
    if loaded is None:
        _use_nothing_else()
    flwr_clientapp()


def _use_nothing_else() -> None:
    """Make room for a bundle's modules.

    An editable installation has a finder that would put its own modules where a bundle's
    packages have gaps.
    """
    sys.dont_write_bytecode = True  # a file more is a file that was not approved
    _forget_ours()
    for finder in list(sys.meta_path):
        if getattr(finder, "__name__", type(finder).__name__) == EDITABLE:
            sys.meta_path.remove(finder)
            _SET_ASIDE.append(finder)


def _forget(loaded: Loaded | None) -> None:
    """Unload a bundle, so that this installation's own modules are found again."""
    sys.meta_path += _SET_ASIDE
    _SET_ASIDE.clear()
    if loaded is not None:
        sys.path[:] = [one for one in sys.path if one != str(loaded.place)]
        for name, module in list(sys.modules.items()):
            if _stands_in(module, loaded.place):
                del sys.modules[name]
    _forget_ours()


def _stands_in(module: object, place: Path) -> bool:
    """Whether a module, or a package without a file, was loaded from a folder.

    Libraries put objects among the modules that answer any name with anything: only what
    the import system itself has written down is looked at.
    """
    facts = getattr(module, "__dict__", {})
    path = facts.get("__path__")
    try:
        places = [facts.get("__file__"), *(path or ())]
    except TypeError:
        places = [facts.get("__file__")]
    return any(str(one).startswith(str(place)) for one in places)


def _allow_only_approved(
    runtime: Any, loading: Any, folder: Path, loaded: Loaded | None = None
) -> None:
    """Have Flower load from where an approved bundle was compared, and nowhere else.

    Flower would make the folder's name of what the message says its version is, which may
    lead out of the folder.
    """
    for module, name in (
        (runtime, "install_from_fab"),
        (runtime, "get_project_dir"),
        (loading, "get_project_dir"),
    ):
        if not hasattr(module, name):
            raise RuntimeError(f"this Flower has no {name} where it was; nothing runs")
    approved = _approved(folder)

    def find_approved(bundle: bytes, *_: Any, **__: Any) -> Path:
        place = _check(bundle, approved, folder, loaded)
        runtime.get_project_dir = loading.get_project_dir = lambda *_: place
        return place

    def nothing_yet(*_: Any) -> Path:
        raise RuntimeError("code was asked for before its bundle was compared")

    runtime.get_project_dir = loading.get_project_dir = nothing_yet
    runtime.install_from_fab = find_approved


def _approved(folder: Path) -> dict[str, dict[str, str]]:
    """The files of every approved bundle, by its digest; none if the list cannot be read."""
    try:
        found = json.loads((folder / LIST).read_text(encoding="utf-8"))
        return {
            str(one["digest"]): dict(one["files"]) | dict(one.get("compiled", {})) for one in found
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _check(
    bundle: bytes,
    approved: dict[str, dict[str, str]],
    folder: Path,
    loaded: Loaded | None = None,
) -> Path:
    """Find where an approved bundle was unpacked; anything else is refused.

    What is loaded stays only if it is this bundle's.
    """
    digest = hashlib.sha256(bundle).hexdigest()
    why = f"this hospital has not approved the bundle {digest[:16]}"
    if digest in approved:
        place = _place(folder, digest, approved[digest])
        if place is not None:
            if loaded is not None and digest != loaded.digest:
                _forget(loaded)
                _use_nothing_else()
            return place
        why = f"the files of the bundle {digest[:16]} are not as this hospital approved them"
    _forget(loaded)  # what is loaded may be of the files that are not as they should be
    from shared.errors import CodeNotApprovedError

    # What is raised here goes to the coordinator with its text: nothing of this hospital's
    # files may be in it, also when the audit trail cannot be written.
    try:
        _write_down(folder, digest, why)
    except Exception:
        with contextlib.suppress(OSError):
            _log(folder)
    _forget_ours()
    raise CodeNotApprovedError(f"{why}; its engineer approves one with `osteofed site approve`")


def _place(folder: Path, digest: str, files: dict[str, str]) -> Path | None:
    """Where a bundle was unpacked, its files being as they were approved; else None."""
    for place in (folder / "approved" / "apps").glob(f"*.{digest[:8]}"):
        if _files(place) == files:
            return place
    return None


def _files(place: Path) -> dict[str, str]:
    """Digest every file that Python could load from a folder, and every other one.

    A link counts as a file whose content is wrong: nothing that was unpacked is one.
    """
    return {
        path.relative_to(place).as_posix(): (
            "link" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in place.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _write_down(folder: Path, digest: str, why: str) -> None:
    from client.identity.chain import site_chain
    from shared.settings.files import SiteConfig, load_settings

    site = load_settings(folder / "site.yaml", SiteConfig).site
    site_chain(folder, site).append("bundle refused", digest=digest, reason=why)


def _forget_ours() -> None:
    """Unload our own packages, so that those of the bundle are loaded."""
    for name in list(sys.modules):
        if name.partition(".")[0] in OURS:
            del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
