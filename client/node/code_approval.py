"""``osteofed site approve | disapprove``: which code of the coordinator may run here."""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import io
import json
import os
import py_compile
import shutil
import stat
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from client.identity.chain import site_chain
from shared.errors import CodeNotApprovedError, InputUnreadableError
from shared.runtime.files import write_text_atomically
from shared.settings.files import SiteConfig, load_settings

APPROVED: Final = "approved"
LIST: Final = "approved.json"
#: Nobody can review these, and Python would run them in the place of what was reviewed.
UNREADABLE: Final = (".pyc", ".pyo", ".so", ".pyd", ".pth", ".dll", ".dylib")


@dataclass(frozen=True)
class Bundle:
    """A bundle that was shown: files by name with their SHA-256."""

    path: Path
    digest: str
    files: dict[str, str]
    content: bytes


def read_bundle(path: Path) -> Bundle:
    """Read a bundle without unpacking or running anything of it.

    Raises
    ------
    InputUnreadableError
        If it is not one, or holds compiled code.
    """
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {
                name: hashlib.sha256(archive.read(name)).hexdigest()
                for name in archive.namelist()
                if not name.endswith("/") and not name.startswith(".info/")
            }
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise InputUnreadableError(
            f"{path}: is not a bundle ({error}); it must be what `osteofed server bundle` wrote"
        ) from None
    for name in files:
        if name.lower().endswith(UNREADABLE):
            raise InputUnreadableError(
                f"{path}: holds compiled code ({name}), which nobody can review; a bundle must "
                "hold sources only, as `osteofed server bundle` writes it"
            )
    return Bundle(path, hashlib.sha256(content).hexdigest(), files, content)


def approved_digests(folder: Path) -> list[dict[str, Any]]:
    """List what was approved, oldest first; empty if nothing was."""
    try:
        found = json.loads((folder / APPROVED / LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        raise CodeNotApprovedError(
            f"{folder / APPROVED / LIST}: cannot be read, so no code is approved; approve again"
        ) from None
    return list(found)


def differences(folder: Path, bundle: Bundle) -> dict[str, list[str]]:
    """Tell which files a bundle adds, removes and changes against the last approved one."""
    known = approved_digests(folder)
    before: dict[str, str] = dict(known[-1]["files"]) if known else {}
    return {
        "added": sorted(set(bundle.files) - set(before)),
        "removed": sorted(set(before) - set(bundle.files)),
        "changed": sorted(
            name for name, digest in bundle.files.items() if before.get(name, digest) != digest
        ),
    }


def approve(folder: Path, bundle: Bundle) -> None:
    """Unpack and compile a bundle where the node finds it, read-only; write its digests down.

    Every file that is there afterwards is named with its digest: `client.node.approved_app` runs
    nothing that differs.

    Raises
    ------
    InputUnreadableError
        If Flower does not take the bundle.
    """
    import click
    from flwr.cli.install import install_from_fab

    place = folder / APPROVED
    known = approved_digests(folder)
    _writable(place)
    place.mkdir(mode=0o700, exist_ok=True)
    _remove(place, bundle.digest)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            unpacked = install_from_fab(bundle.content, install_dir=place, skip_prompt=True)
    except (click.ClickException, ValueError, OSError) as error:
        raise InputUnreadableError(f"{bundle.path}: {error}") from None
    known = [one for one in known if one["digest"] != bundle.digest]
    known.append(
        {
            "digest": bundle.digest,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": bundle.files,
            "compiled": _compile(unpacked),
        }
    )
    _write_list(place, known)
    _read_only(place)
    site = load_settings(folder / "site.yaml", SiteConfig).site
    site_chain(folder, site).append("approved", digest=bundle.digest, files=len(bundle.files))


def disapprove(folder: Path, digest: str) -> None:
    """Withdraw an approval: the next message with this bundle is refused.

    Code that is answering a message at this moment goes on to its answer.

    Parameters
    ----------
    folder : Path
        The site folder.
    digest : str
        The bundle's SHA-256, 64 hexadecimal digits, as `approve` showed it.

    Raises
    ------
    CodeNotApprovedError
        If it is not approved.
    """
    place = folder / APPROVED
    known = approved_digests(folder)
    left = [one for one in known if one["digest"] != digest]
    if len(left) == len(known):
        said = ", ".join(one["digest"] for one in known) or "nothing"
        raise CodeNotApprovedError(f"{digest}: is not approved here (approved: {said})")
    site = load_settings(folder / "site.yaml", SiteConfig).site
    _writable(place)
    try:
        _write_list(place, left)  # from here on it is refused, whatever else fails
        _remove(place, digest)
    finally:
        _read_only(place)
    site_chain(folder, site).append("disapproved", digest=digest)


def _remove(place: Path, digest: str) -> None:
    for unpacked in (place / "apps").glob(f"*.{digest[:8]}"):
        shutil.rmtree(unpacked)


def _compile(unpacked: Path) -> dict[str, str]:
    """Compile a bundle's modules, once for all messages; name what was made by its digest."""
    compileall.compile_dir(
        unpacked, quiet=2, force=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
    )
    return {
        path.relative_to(unpacked).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(unpacked.rglob("__pycache__/*.pyc"))
    }


def _write_list(place: Path, known: list[dict[str, Any]]) -> None:
    write_text_atomically(place / LIST, json.dumps(known, indent=1) + "\n")


def _read_only(place: Path) -> None:
    for path in sorted(place.rglob("*"), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)
    place.chmod(0o500)


def _writable(place: Path) -> None:
    if not place.is_dir():
        return
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(stat.S_IRWXU)
