"""The random key of each reserved round's noise, which is erased when the round is committed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from client.privacy.ledger_db import NOISE_KEYS

NOISE_KEY_BYTES: Final = 32


def make_noise_key(connection: sa.Connection, entry: int, former: Sequence[int]) -> bytes:
    """Make the key of a reserved round; those of former attempts, of which nothing left, go."""
    NOISE_KEYS.create(connection, checkfirst=True)  # ledgers of an older version have none
    connection.execute(NOISE_KEYS.delete().where(NOISE_KEYS.c.entry.in_(former)))
    key = secrets.token_bytes(NOISE_KEY_BYTES)
    connection.execute(NOISE_KEYS.insert().values(entry=entry, key=key))
    return key


def noise_key_of(connection: sa.Connection, entry: int) -> bytes:
    """Read the key of a reserved round; empty if it was reserved without one."""
    if not sa.inspect(connection).has_table(NOISE_KEYS.name):
        return b""
    key = connection.scalar(sa.select(NOISE_KEYS.c.key).where(NOISE_KEYS.c.entry == entry))
    return bytes(key or b"")


def erase_noise_key(connection: sa.Connection, entry: int) -> None:
    """Erase the key of a round that is being committed.

    `client.privacy.ledger_db.empty_log` must follow the transaction.
    """
    if sa.inspect(connection).has_table(NOISE_KEYS.name):
        connection.execute(NOISE_KEYS.delete().where(NOISE_KEYS.c.entry == entry))
