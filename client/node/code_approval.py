"""``osteofed site approve | disapprove``: which code of the coordinator may run here."""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import io
import json
import os
import py_compile
import re
import shutil
import stat
import tomllib
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from client.identity.chain import site_chain
from shared.errors import CodeNotApprovedError, InputUnreadableError
from shared.phrases import counted
from shared.runtime.files import write_text_atomically
from shared.settings.files import SiteConfig, load_settings

APPROVED: Final = "approved"
LIST: Final = "approved.json"
#: A bundle of ours has some hundred files and two megabytes.
MOST_FILES: Final = 5000
LARGEST_BUNDLE: Final = 16_000_000
LARGEST_UNPACKED: Final = 64_000_000
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
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
        If it is not one, is or unpacks to more than any bundle of ours, would be written
        outside of its place, or holds compiled code.
    """
    try:
        if path.stat().st_size > LARGEST_BUNDLE:
            raise ValueError(f"larger than {LARGEST_BUNDLE:,} bytes")
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _digests(archive)
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


def _digests(archive: zipfile.ZipFile) -> dict[str, str]:
    """Read a bundle's files for their digests, one at a time and no more than it says.

    Raises
    ------
    ValueError
        If it is too large, or a name could lead out of the place where it is unpacked.
    """
    entries = archive.infolist()
    if len(entries) > MOST_FILES or sum(one.file_size for one in entries) > LARGEST_UNPACKED:
        raise ValueError(
            f"it unpacks to more than {counted(MOST_FILES, 'file')} or {LARGEST_UNPACKED:,} bytes"
        )
    names = [one.filename for one in entries]
    for name in names:
        parts = name.removesuffix("/").split("/")
        if "\\" in name or ":" in name or not all(part.strip(". ") for part in parts):
            raise ValueError(f"{name!r} is no name of a file in it")
    if len(set(names)) < len(names):
        raise ValueError("it holds two files of one name")
    found: dict[str, str] = {}
    for one in entries:
        data = archive.read(one)  # zipfile reads no more than the entry says, and checks it
        if one.filename == "pyproject.toml":
            _check_version(data)
        if not one.is_dir() and not one.filename.startswith(".info/"):
            found[one.filename] = hashlib.sha256(data).hexdigest()
    return found


def _check_version(settings: bytes) -> None:
    """Refuse names that Flower would make a path of: publisher, name and version."""
    read = tomllib.loads(settings.decode())
    project = read.get("project", {})
    flower = read.get("tool", {}).get("flwr", {}).get("app", {})
    named = (flower.get("publisher"), project.get("name"), project.get("version"))
    for what, value in zip(("publisher", "name", "version"), named, strict=True):
        if not isinstance(value, str) or not PLAIN_NAME.fullmatch(value) or ".." in value:
            raise ValueError(f"its {what} is {value!r}, which is none")


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
