"""Where a version comes from, held against the key of the coordinator whom the reader knows.

The key comes from the site's ``coordinator.json`` or from whoever types it, never from the folder
or the registry that the version is from: whoever can write the weights there can write a key
beside them (docs/decisions/0029-the-origin-of-a-version.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.errors import ConfigValueError, PassportInvalidError
from shared.protocol.invitation import COORDINATOR, pinned_coordinator
from shared.protocol.passport import FILE, Passport, check_passport, read_passport
from shared.protocol.signatures import SIMULATION
from shared.training.weights import Weights, digest_arrays

_KEY: Final = re.compile(r"[0-9a-f]{64}")


def trusted_key(trust: str | None, site_folder: Path | None) -> str | None:
    """Give the coordinator's public key that versions are held against; None if none is known.

    Parameters
    ----------
    trust : str or None
        A key that a person gave, 64 hexadecimal digits.
    site_folder : Path or None
        The site, whose ``coordinator.json`` names the coordinator it was enrolled with. A
        simulation's key counts for nothing: it lies in the workspace, for whoever uses that.

    Raises
    ------
    ConfigValueError
        If what was given is no key, or is another than the site's own.
    ConfigError
        If the site's file is damaged.
    """
    if trust is not None and not _KEY.fullmatch(trust):
        raise ConfigValueError(
            f"--trust: {trust[:80]!r} is no public key (must be the 64 hexadecimal digits that "
            "the coordinator's invitation names as `coordinator`)"
        )
    pinned = None if site_folder is None else pinned_coordinator(site_folder)
    if pinned is None or pinned.address == SIMULATION:
        return trust
    if trust is not None and trust != pinned.coordinator:
        raise ConfigValueError(
            f"--trust: is another key than that of {COORDINATOR} in {site_folder} (must be the "
            "same; leave --trust out to take the site's)"
        )
    return pinned.coordinator


def passport_beside(weights: Path, task: str) -> Path | None:
    """Find the passport beside a version's weights: as it is exported, or as it is registered."""
    for name in (f"{task}.{FILE}", FILE):
        if (weights.parent / name).is_file():
            return weights.parent / name
    return None


def verify_origin(name: str, weights: Weights, path: Path | None, key: str) -> Passport:
    """Hold weights that were read against a passport that the coordinator signed.

    The arrays in memory are compared, not the file: nothing can be exchanged in between. Also
    what the file says of itself must be what was signed: its settings and its origin.

    Parameters
    ----------
    name : str
        How the version is called in the sentence of a refusal.
    weights : Weights
        As they will be used.
    path : Path or None
        Its passport; None if there is none.
    key : str
        The coordinator's public key (`trusted_key`).

    Raises
    ------
    PassportInvalidError
        Named, with a reason of its own for each thing that can be wrong.
    """
    if path is None:
        raise PassportInvalidError(
            f"{name}: has no passport beside its weights ({weights.settings.task}.{FILE}), so the "
            "coordinator's key cannot show where it comes from; export the version again with "
            "`osteofed server export`, or ask the coordinator for it"
        )
    try:
        passport = read_passport(path)
        check_passport(path, passport, key)
    except PassportInvalidError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise PassportInvalidError(f"{name}: its passport {reason}; it is not read") from None
    for found, signed, what in (
        (weights.settings.task, passport.task, "task"),
        (digest_arrays(weights.arrays), passport.digest, "weights"),
        (weights.settings, passport.settings, "settings"),
        (weights.origin, f"federated run {passport.run}", "origin"),
    ):
        if found != signed:
            raise PassportInvalidError(
                f"{name}: its {what} {'are' if what[-1] == 's' else 'is'} not what the "
                "coordinator signed (edited, or of another version); it is not read, get the "
                "version again from the coordinator"
            )
    return passport


def unverified(versions: Mapping[str, str]) -> list[str]:
    """Say of which versions nothing shows where they come from; nothing to say of others.

    Parameters
    ----------
    versions : mapping of str to str
        Task to the key that its version was held against, empty where there was none.
    """
    unknown = sorted(task for task, key in versions.items() if not key)
    if not unknown:
        return []
    was = "version was" if len(unknown) == 1 else "versions were"
    return [
        f"Where the {was} made is not verified ({', '.join(unknown)}): no coordinator's key was "
        "known here, so edited weights would read as these did."
    ]
