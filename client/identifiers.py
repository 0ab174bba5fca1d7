"""Identifiers seen at ingest, remembered so that an audit can look for them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from shared.dicom.identifiers import SeenIdentifier


def remember(session: Session, secret: bytes, seen: Iterable[SeenIdentifier]) -> None:
    """Keep keyed digests of identifiers; the identifiers themselves are not kept.

    Parameters
    ----------
    session : Session
        Of the catalogue; the caller commits.
    secret : bytes
        The site's.
    seen : iterable of SeenIdentifier
        What one study's files held.
    """
