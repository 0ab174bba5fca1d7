"""Who takes part: hospitals are admitted and expelled, here and at Flower's SuperLink."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from server.deployment.flower_control import flower_control
from server.deployment.pki import CA, facts_of_home
from server.deployment.readiness import is_up, wait_until_ready
from server.state.home import Home, Member
from shared.errors import ConfigValueError
from shared.protocol.signatures import Enrolment
from shared.runtime.files import write_text_atomically

CONNECTION: Final = "osteofed"
#: Folder of a home in which the SuperLink works.
SUPERLINK: Final = "superlink"


def admit(folder: Path, enrolment: Path, most_patients: int | None = None) -> Member:
    """Admit a hospital by the file that its `site enrol` wrote.

    Parameters
    ----------
    folder : Path
        The coordinator's home.
    enrolment : Path
        ``enrolment.json``.
    most_patients : int, optional
        What its contract allows it to claim; by default what it enrolled with.

    Raises
    ------
    ConfigValueError
        If the file is not what the hospital signed, its node key is none, or the name
        belongs to another key.
    """
    facts_of_home(folder)
    try:
        read = Enrolment.model_validate_json(enrolment.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        raise ConfigValueError(
            f"{enrolment}: is not an enrolment (must be the file that `osteofed site enrol` wrote)"
        ) from None
    if not read.is_signed():
        raise ConfigValueError(
            f"{enrolment}: its signature is not that of its content; ask the hospital for the "
            "file again and compare the keys by telephone"
        )
    if not _is_node_key(read.node_key):
        raise ConfigValueError(
            f"{enrolment}: node_key: is not the hexadecimal PEM of a P-384 public key (must be "
            "what `osteofed site enrol` wrote); ask the hospital for the file again"
        )
    home = Home(folder)
    member = Member(
        site=read.site,
        signing_key=read.signing_key,
        node_key=read.node_key,
        most_patients=most_patients or read.most_patients,
        admitted=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    for known in home.members():
        same_name, same_key = known.site == member.site, known.node_key == member.node_key
        if same_name and known.signing_key != member.signing_key:
            raise ConfigValueError(
                f"{enrolment}: {member.site} is admitted with another key; expel it first"
            )
        if same_key and not same_name:
            raise ConfigValueError(f"{enrolment}: its node key is that of {known.site}")
    others = tuple(one for one in home.members() if one.site != member.site)
    home.save_members((*others, member))
    home.chain().append(
        "admitted", site=member.site, signing_key=member.signing_key,
        most_patients=member.most_patients,
    )  # fmt: skip
    _sync_if_up(folder)
    return member


def expel(folder: Path, site: str) -> Member:
    """Expel a hospital: its node is cut off, its answers are not accepted any more.

    Raises
    ------
    MemberUnknownError
        If it is not admitted.
    """
    home = Home(folder)
    member = home.member(site)
    home.save_members(tuple(one for one in home.members() if one.site != site))
    home.chain().append("expelled", site=site, signing_key=member.signing_key)
    _sync_if_up(folder)
    return member


def flwr_home(folder: Path) -> Path:
    """Where Flower's own settings of a home lie."""
    return folder / SUPERLINK / "flwr"


def write_connection(folder: Path, port: int) -> None:
    """Tell Flower's command line where the SuperLink of a home is."""
    text = (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "127.0.0.1:{port}"\nroot-certificates = "{(folder / CA).absolute()}"\n'
    )
    write_text_atomically(flwr_home(folder) / "config.toml", text)


def sync_nodes(folder: Path) -> None:
    """Make the nodes that the SuperLink knows those of the members, no more and no less.

    Raises
    ------
    RuntimeUnavailableError
        If the SuperLink does not take it.
    """
    wanted = {member.node_key: member for member in Home(folder).members() if member.node_key}
    known = _registered(folder)
    gone = [node for key, node in known.items() if key not in wanted]
    new = [member for key, member in wanted.items() if key not in known]
    if not gone and not new:
        return
    with flower_control(flwr_home(folder) / "config.toml") as control:
        for node in gone:
            control.unregister(node)
        for member in new:
            control.register(bytes.fromhex(member.node_key), member.site)


def _registered(folder: Path) -> dict[str, int]:
    """Nodes that the SuperLink knows: hex of the public key to number."""
    import sqlite3

    # Flower's list of nodes does not show their keys; its database does.
    path = folder / SUPERLINK / "state.db"
    if not path.is_file():
        return {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as database:
        try:
            rows = database.execute(
                "SELECT node_id, public_key FROM node WHERE status != 'unregistered'"
            ).fetchall()
        except sqlite3.OperationalError:
            return {}
    database.close()
    return {bytes(key).hex(): int(node) % 2**64 for node, key in rows}


def _is_node_key(text: str) -> bool:
    """Tell whether this is a key as `client.node.enrol` makes it, written as it writes it.

    Flower's database holds the same text: any other form of a key would never be found there.
    """
    try:
        raw = bytes.fromhex(text)
        key = serialization.load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return False
    written = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return written == raw and raw.hex() == text


def _sync_if_up(folder: Path) -> None:
    if is_up(folder):
        wait_until_ready(folder, public=False)
        sync_nodes(folder)
