"""The coordinator's home: its identity, its members, its audit trail, and the heads of theirs.

See docs/decisions/0007-trust-and-survival.md for the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from shared.audit.chain import Chain, Head
from shared.audit.keys import SigningKey, read_key
from shared.audit.provisioning import begun
from shared.errors import ConfigError, MemberUnknownError
from shared.runtime.files import OWNER_ONLY, make_private_folder, write_text_atomically
from shared.settings.base import Settings
from shared.settings.patterns import SiteName

IDENTITY: Final = "identity.key"
MEMBERS: Final = "members.json"
HEADS: Final = "heads"
AUDIT: Final = "audit.jsonl"
COORDINATOR: Final = "coordinator"
#: How many heads of each member's chain are remembered, to notice a second copy of it.
HEADS_KEPT: Final = 1000


class Member(Settings):
    """An admitted hospital.

    `signing_key` is the Ed25519 public key of its answers and chain, `node_key` the hex
    of the public key by which Flower knows its node (empty in a simulation),
    `most_patients` what its contract allows it to claim (None: only the quorum's cap).
    """

    site: SiteName
    signing_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    node_key: Annotated[str, Field(pattern=r"^[0-9a-f]*$")] = ""
    most_patients: Annotated[int, Field(ge=1)] | None = None
    admitted: str = ""


@dataclass(frozen=True)
class Home:
    """A coordinator's home folder."""

    folder: Path

    def make(self) -> SigningKey:
        """Make the folder (its owner's alone), identity and chain if need be; return the key.

        A home with an identity is given no chain: it had one (`shared.audit.provisioning.begun`).
        """
        make_private_folder(self.folder)
        path = self.folder / IDENTITY
        if path.exists():
            return read_key(path)
        with begun(self.folder / AUDIT, COORDINATOR, path) as chain:
            return chain.key

    def key(self) -> SigningKey:
        """The coordinator's signing key, read once."""
        return self._key

    @cached_property
    def _key(self) -> SigningKey:
        return read_key(self.folder / IDENTITY)

    def chain(self) -> Chain:
        """The coordinator's audit chain."""
        return Chain(self.folder / AUDIT, COORDINATOR, self.key())

    def members(self) -> tuple[Member, ...]:
        """Read the admitted hospitals, sorted by name; empty if nobody was admitted."""
        path = self.folder / MEMBERS
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            return tuple(Member.model_validate(one) for one in read)
        except FileNotFoundError:
            return ()
        except (ValueError, ValidationError, TypeError):
            raise ConfigError(
                f"{path}: is not a list of members; restore it from your backup"
            ) from None

    def member(self, site: str) -> Member:
        """Find an admitted hospital by name.

        Raises
        ------
        MemberUnknownError
            If it is not admitted.
        """
        for one in self.members():
            if one.site == site:
                return one
        known = ", ".join(one.site for one in self.members()) or "nobody"
        raise MemberUnknownError(f"{site}: is not admitted here (admitted: {known})")

    def save_members(self, members: tuple[Member, ...]) -> None:
        """Write the admitted hospitals, atomically, mode 0600."""
        found = sorted(members, key=lambda one: one.site)
        self._write(MEMBERS, json.dumps([one.model_dump() for one in found], indent=1))

    def seen(self, member: Member) -> Head:
        """Last head of a member's chain that came in a signed answer."""
        known = self._heads(member)
        last = max(known, default=0)
        return Head(line=last, digest=known[last]) if last else Head()

    def is_fork(self, member: Member, head: Head) -> bool:
        """Tell whether a member said before that this line of its chain was another."""
        return self._heads(member).get(head.line, head.digest) != head.digest

    def note_seen(self, member: Member, head: Head) -> None:
        """Remember a head that came in an accepted answer."""
        known = self._heads(member)
        if known.get(head.line) == head.digest:
            return
        known[head.line] = head.digest
        kept = {str(line): known[line] for line in sorted(known)[-HEADS_KEPT:]}
        (self.folder / HEADS).mkdir(exist_ok=True, mode=0o700)
        self._write(f"{HEADS}/{member.signing_key}.json", json.dumps(kept, indent=1))

    def _heads(self, member: Member) -> dict[int, str]:
        """Heads of one member's chain, a file each: none is rewritten for another's answer."""
        path = self.folder / HEADS / f"{member.signing_key}.json"
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            return {int(n): Head(line=int(n), digest=d).digest for n, d in read.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, ValidationError, AttributeError):
            raise ConfigError(
                f"{path}: is not a list of heads; restore it from your backup"
            ) from None

    def _write(self, name: str, text: str) -> None:
        write_text_atomically(self.folder / name, text + "\n", mode=OWNER_ONLY)
