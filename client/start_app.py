"""What runs in place of Flower's ``flwr-clientapp``: approved code, or none.

Flower unpacks whatever bundle comes with a message and runs it. Here the digest of the
bundle is looked up first, in what the hospital's engineer approved; any other is answered
with an error, written into the audit chain, and nothing of it is unpacked. The code that
then answers is the bundle's, loaded anew: nothing of this installation's own packages
stays loaded. If Flower is not as this program knows it, it ends before it takes a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Final

#: Names the site folder; `client.join` sets it.
SITE: Final = "OSTEOFED_SITE"
#: Exit code of an end without any answer; `client.warm` then has the node begin anew.
CRASHED: Final = 97
OURS: Final = ("client", "server", "shared")


def main(arguments: list[str]) -> int:
    """Answer one message with approved code.

    Parameters
    ----------
    arguments : list of str
        As Flower gives them to ``flwr-clientapp``.
    """
    folder = Path(os.environ[SITE])
    try:
        _run(arguments, folder)
    except Exception:
        # Flower throws away what its programs print.
        _log(folder)
        return CRASHED
    return 0


def _log(folder: Path) -> None:
    """Leave the error that is being handled in the hospital's own log."""
    with (folder / "node" / "start_app.log").open("a", encoding="utf-8") as file:
        traceback.print_exc(file=file)


def _run(arguments: list[str], folder: Path) -> None:
    from flwr.supernode.cli import flwr_clientapp

    # By its full name: the package gives the function of the same name instead.
    runtime: Any = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    unpack = runtime.install_from_fab  # AttributeError: Flower changed, nothing runs
    approved = _approved(folder)

    def unpack_approved(bundle: bytes, *rest: Any, **options: Any) -> Any:
        _check(bundle, approved, folder)
        return unpack(bundle, *rest, **options)

    runtime.install_from_fab = unpack_approved
    sys.argv = ["flwr-clientapp", *arguments]
    _forget_ours()
    flwr_clientapp()


def _approved(folder: Path) -> frozenset[str]:
    try:
        found = json.loads((folder / "approved" / "approved.json").read_text(encoding="utf-8"))
        return frozenset(str(one["digest"]) for one in found)
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def _check(bundle: bytes, approved: frozenset[str], folder: Path) -> None:
    digest = hashlib.sha256(bundle).hexdigest()
    if digest in approved:
        return
    from shared.errors import CodeNotApprovedError

    # What is raised here goes to the coordinator with its text: nothing of this hospital's
    # files may be in it, also when the audit trail cannot be written.
    try:
        _write_down(folder, digest)
    except Exception:
        with contextlib.suppress(OSError):
            _log(folder)
    _forget_ours()
    raise CodeNotApprovedError(
        f"this hospital has not approved the bundle {digest[:16]}; its engineer approves one "
        "with `osteofed site approve`"
    )


def _write_down(folder: Path, digest: str) -> None:
    from client.audit import site_chain
    from shared.config import SiteConfig, load_settings

    site = load_settings(folder / "site.yaml", SiteConfig).site
    site_chain(folder, site).append("bundle refused", digest=digest)


def _forget_ours() -> None:
    """Unload our own packages, so that those of the bundle are loaded."""
    for name in list(sys.modules):
        if name.partition(".")[0] in OURS:
            del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
