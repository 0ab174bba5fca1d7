"""Counts of what a store holds, for the hospital's own engineer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from client.store.catalogue import Image, Label, Marking, Patient, Study, Volume, has_images
from client.store.exclusions import left_out
from client.store.pairing import Pairing
from client.store.patient_source import pair_stored
from client.store.site_store import SiteStore
from client.store.split import SPLITS
from shared.dicom.ct.completeness import COMPLETENESS_WORDS, UNKNOWN


def describe_store(folder: Path) -> dict[str, Any]:
    """Count patients, studies, views, masks and labels by split.

    These are exact counts of real patients: for the hospital, not to be sent out.

    Returns
    -------
    dict
        ``site``; ``splits``; ``store`` (`SiteStore.counts`); ``rows``: one dict per
        line with ``what`` and a number for each split; ``pairing``: which studies without
        a BMD have one of another visit, at most ``months`` away, and why others have none
        (`client.store.pairing.Pairing.as_dict`).

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError, PlaceholderSecretError
        See `SiteStore.open`.
    """
    store = SiteStore.open(folder)
    try:
        with Session(store.engine) as session:
            rows = [
                *_rows(session, "patients", select(Patient.split, func.count())),
                *_rows(
                    session,
                    "studies of {}",
                    _by_study(Study.vendor, func.count()).where(has_images()),
                ),
                *_rows(session, "images {}", _by_image(Image.view, func.count())),
                *_rows(session, "masks {}", _by_image(Image.view, func.count(Image.mask_digest))),
                *_rows(session, "CT series", _by_volume(func.count())),
                *_completeness_rows(session),
                *_rows(session, "masks of CT series", _by_volume(func.count(Volume.mask_digest))),
                *_rows(session, "studies with {}", _by_label().where(has_images())),
                *_rows(session, "studies with a marked {}", _by_mark()),
                *_rows(
                    session, "visits without images", _by_study(func.count()).where(~has_images())
                ),
                *_rows(session, "visits without images with {}", _by_label().where(~has_images())),
            ]
            unused, months = left_out(store.folder), store.config.pairing.months
            pairing, split_of = pair_stored(session, unused, months)
        return {
            "site": store.config.site,
            "splits": list(SPLITS),
            "store": store.counts(),
            "rows": [*rows, *_pairing_rows(pairing, split_of)],
            "pairing": {"months": months} | pairing.as_dict(),
        }
    finally:
        store.close()


def _pairing_rows(pairing: Pairing, split_of: dict[str, str]) -> list[dict[str, Any]]:
    """Studies without a BMD of their own, by what became of them and by split."""
    outcomes = [(study, "with the BMD of another visit") for study in pairing.paired]
    outcomes += [
        (study, f"without any BMD: {one.reason.replace('_', ' ')}")
        for study, one in pairing.unpaired.items()
    ]
    counted = Counter((what, split_of[study]) for study, what in outcomes)
    return [
        {"what": f"studies {what}"} | {split: counted[what, split] for split in SPLITS}
        for what in sorted({what for _, what in outcomes})
    ]


def _by_study(*columns: Any) -> Any:
    """Select by split and a column of the studies."""
    return (
        select(Patient.split, *columns)
        .select_from(Study)
        .join(Patient, Study.patient == Patient.pseudonym)
    )


def _by_image(*columns: Any) -> Any:
    """Select by split and a column of the images."""
    return _by_study(*columns).join(Image, Image.study == Study.uid)


def _by_volume(*columns: Any) -> Any:
    """Select by split and of the CT series."""
    return _by_study(*columns).join(Volume, Volume.study == Study.uid)


def _completeness_rows(session: Session) -> list[dict[str, Any]]:
    """CT series by whether all their slices are there; of an older version nobody knows."""
    state = func.coalesce(Volume.completeness, UNKNOWN)
    rows = _rows(session, "{}", _by_volume(state.label("state"), func.count()))
    return [row | {"what": f"CT series: {COMPLETENESS_WORDS[row['what']]}"} for row in rows]


def _by_label() -> Any:
    """Select the studies that have labels of a kind."""
    return (
        _by_study(Label.kind, func.count(Study.uid.distinct()))
        .join(Label, Label.study == Study.uid)
        .where(Label.disputed.is_(False))
    )


def _by_mark() -> Any:
    """Select the studies on whose images something is marked, by its kind."""
    return (
        _by_study(Marking.kind, func.count(Study.uid.distinct()))
        .join(Marking, Marking.study == Study.uid)
        .where(Marking.disputed.is_(False))
    )


def _rows(session: Session, what: str, query: Any) -> list[dict[str, Any]]:
    """Run a count grouped by all but its last column, and lay it out by split."""
    keys = list(query.selected_columns)[:-1]
    table: dict[str, dict[str, Any]] = {}
    for split, *names, count in session.execute(query.group_by(*keys).order_by(*keys)):
        label = what.format(*names)
        row = table.setdefault(label, {"what": label} | dict.fromkeys(SPLITS, 0))
        if split is not None:
            row[split] = count
    return list(table.values())
