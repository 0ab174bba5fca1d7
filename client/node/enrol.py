"""``osteofed site enrol``: the hospital's keys are made here, and never leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from client.identity.chain import site_chain
from client.privacy.declared import largest_number
from client.store.site_store import SiteStore
from shared.errors import ConfigValueError, PolicyRefusedError, StoreExistsError
from shared.protocol.invitation import COORDINATOR, pinned_coordinator
from shared.protocol.signatures import ENROLMENT, SIMULATION, Enrolment, Invitation
from shared.runtime.files import OWNER_ONLY, make_private_file, write_text_atomically

NODE_KEY: Final = "node.key"
ENROLMENT_FILE: Final = "enrolment.json"
#: A hospital grows; its contract leaves room for this many times the declared patients.
ROOM: Final = 2


def enrolled_with(folder: Path) -> Invitation | None:
    """The coordinator that a site is enrolled with; None before `enrol`."""
    return pinned_coordinator(folder) if (folder / NODE_KEY).is_file() else None


def enrol(folder: Path, invitation: Path, most_patients: int | None = None) -> dict[str, Any]:
    """Pin the coordinator, make the node's key, write what the coordinator needs to know.

    Parameters
    ----------
    folder : Path
        The site folder.
    invitation : Path
        The coordinator's ``invitation.json``.
    most_patients : int, optional
        The largest number of patients that answers may claim; by default twice the
        largest that the site declared.

    Returns
    -------
    dict
        ``site``, ``address``, ``coordinator``, ``signing_key`` and ``enrolment`` (path).

    Raises
    ------
    ConfigValueError
        If the file is no invitation.
    PolicyRefusedError
        If neither is given: the store is not counted for it.
    StoreExistsError
        If the site is enrolled with another coordinator already.
    """
    try:
        read = Invitation.model_validate_json(invitation.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        raise ConfigValueError(
            f"{invitation}: is not an invitation (must be the coordinator's invitation.json)"
        ) from None
    store = SiteStore.open(folder)
    site = store.config.site
    most_patients = most_patients or ROOM * largest_number(store.config)
    store.close()
    if not most_patients:
        raise PolicyRefusedError(
            f"{folder}: has declared no number of patients (site.yaml: declared); take studies in "
            "and run `osteofed site declare` first, or give --most-patients"
        )
    pinned = folder / COORDINATOR
    before = pinned_coordinator(folder)
    if before is not None and before != read and before.address != SIMULATION:
        raise StoreExistsError(
            f"{pinned}: this site is enrolled with another coordinator; remove the file to change"
        )
    public = _node_key(folder / NODE_KEY)
    chain = site_chain(folder, site)
    content = {
        "site": site,
        "signing_key": chain.key.public,
        "node_key": public.hex(),
        "most_patients": most_patients,
    }
    enrolment = Enrolment.model_validate(
        content | {"signature": chain.key.sign(ENROLMENT, content)}
    )
    write_text_atomically(pinned, read.model_dump_json(indent=1) + "\n", mode=OWNER_ONLY)
    public_part = enrolment.model_dump_json(indent=1) + "\n"
    write_text_atomically(folder / ENROLMENT_FILE, public_part, mode=0o644)
    chain.append("enrolled", coordinator=read.coordinator, address=read.address)
    return {
        "site": site,
        "address": read.address,
        "coordinator": read.coordinator,
        "signing_key": chain.key.public,
        "enrolment": str(folder / ENROLMENT_FILE),
    }


def _node_key(path: Path) -> bytes:
    """Make the node's key if there is none; return its public key in PEM."""
    if path.exists():
        private = serialization.load_ssh_private_key(path.read_bytes(), None)
    else:
        private = ec.generate_private_key(ec.SECP384R1())
        text = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        make_private_file(path, text)
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
