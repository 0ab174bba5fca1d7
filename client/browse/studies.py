"""The list of studies: filtered, paged, looked up in the catalogue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from client.browse import names_and_advice as names
from client.browse.overview import NO_FLAG
from client.store.catalogue import Image, Label, Patient, Quality, Study, Volume
from client.store.split import SPLITS
from shared.phrases import counted
from shared.records import Vendor, View

PAGE_STUDIES: Final = 25
#: Digits of a pseudonym that are shown: enough to tell patients of one hospital apart.
SHOWN_DIGITS: Final = 8
CT: Final = "ct"
ANY_FLAG: Final = "any"


@dataclass(frozen=True)
class Filter:
    """Which studies to list; empty = all. Values that do not exist were dropped."""

    vendor: str = ""
    view: str = ""
    flag: str = ""
    split: str = ""
    use: str = ""

    def query(self) -> dict[str, str]:
        """What is set, for links."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Choices:
    """What can be chosen in the filter: pairs of value and words."""

    vendor: list[tuple[str, str]]
    view: list[tuple[str, str]]
    flag: list[tuple[str, str]]
    split: list[tuple[str, str]]
    use: list[tuple[str, str]]

    def clean(self, asked: dict[str, str]) -> Filter:
        """Keep of what was asked only what can be chosen."""
        return Filter(
            **{
                name: asked[name]
                for name, pairs in vars(self).items()
                if asked.get(name) in {value for value, _ in pairs}
            }
        )


def choices(session: Session) -> Choices:
    """Read what there is to choose from."""
    vendors = set(session.scalars(select(Study.vendor).distinct()))
    views = set(session.scalars(select(Image.view).distinct()))
    flags = sorted(session.scalars(select(Quality.flag).where(Quality.flag != NO_FLAG).distinct()))
    has_ct = session.scalar(select(exists().where(Volume.study.is_not(None))))
    return Choices(
        vendor=[(v.value, names.vendor_words(v)) for v in Vendor if v in vendors],
        view=[(v.value, names.view_words(v)) for v in View if v in views]
        + ([(CT, "CT series")] if has_ct else []),
        flag=([(ANY_FLAG, "Any flag")] if flags else [])
        + [(flag, names.flag_words(flag)) for flag in flags],
        split=[(split, names.SPLITS[split]) for split in SPLITS],
        use=[("used", "In use"), ("left_out", "Left out")],
    )


def list_studies(
    session: Session, wanted: Filter, page: int, unused: frozenset[str]
) -> dict[str, Any]:
    """One page of the studies that a filter lets through.

    Parameters
    ----------
    session : Session
        Of the catalogue.
    wanted : Filter
        What was chosen.
    page : int
        From 1; beyond the last is the last.
    unused : frozenset of str
        Studies that are left out.

    Returns
    -------
    dict
        ``rows``, ``page``, ``pages``, ``found``, ``first`` (number of the first row).
    """
    query = _filtered(wanted, unused)
    found = int(session.scalar(select(func.count()).select_from(query.subquery())) or 0)
    pages = max(1, -(-found // PAGE_STUDIES))
    page = min(max(page, 1), pages)
    start = (page - 1) * PAGE_STUDIES
    ordered = query.order_by(Study.patient, Study.day, Study.uid)
    some = list(session.execute(ordered.offset(start).limit(PAGE_STUDIES)))
    uids = [study.uid for study, _ in some]
    firsts = first_days(session, {study.patient for study, _ in some})
    images = defaultdict(list)
    for image in session.scalars(
        select(Image).where(Image.study.in_(uids)).order_by(Image.study, Image.view)
    ):
        images[image.study].append(image)
    flags, assessed = _flags(session, uids), _assessed(session, uids)
    labels: dict[str, set[str]] = defaultdict(set)
    for uid, kind in session.execute(
        select(Label.study, Label.kind)
        .where(Label.study.in_(uids), Label.disputed.is_(False))
        .distinct()
    ):
        labels[uid].add(kind)
    volumes: dict[str, int] = {}
    for uid, count in session.execute(
        select(Volume.study, func.count()).where(Volume.study.in_(uids)).group_by(Volume.study)
    ):
        volumes[uid] = count
    rows = [
        {
            "uid": study.uid,
            "patient": study.patient[:SHOWN_DIGITS],
            "when": day_words(study.day, firsts.get(study.patient)),
            "vendor": names.vendor_words(study.vendor),
            "model": study.model or "",
            "sex": names.SEXES.get(study.sex or "", "Sex not given"),
            "age": names.age_words(study.age_years),
            "images": [
                {"view": i.view, "name": names.view_words(i.view), "mask": bool(i.mask_digest)}
                for i in in_order(images[study.uid])
            ],
            "volumes": volumes.get(study.uid, 0),
            "labels": labels[study.uid],
            "flags": flags.get(study.uid, []),
            "no_flag": names.no_flag_words(
                assessed.get(study.uid, 0), len(images[study.uid]) + volumes.get(study.uid, 0)
            ),
            "split": names.SPLITS.get(split or "", "Not divided yet"),
            "left_out": study.uid in unused,
        }
        for study, split in some
    ]
    return {"rows": rows, "page": page, "pages": pages, "found": found, "first": start + 1}


def _filtered(wanted: Filter, unused: frozenset[str]) -> Select[Study, str | None]:
    """Select studies and their split."""
    query = select(Study, Patient.split).join(Patient, Patient.pseudonym == Study.patient)
    if wanted.vendor:
        query = query.where(Study.vendor == wanted.vendor)
    if wanted.view == CT:
        query = query.where(exists().where(Volume.study == Study.uid))
    elif wanted.view:
        query = query.where(exists().where(Image.study == Study.uid, Image.view == wanted.view))
    if wanted.flag == ANY_FLAG:
        query = query.where(exists().where(Quality.study == Study.uid, Quality.flag != NO_FLAG))
    elif wanted.flag:
        query = query.where(exists().where(Quality.study == Study.uid, Quality.flag == wanted.flag))
    if wanted.split:
        query = query.where(Patient.split == wanted.split)
    if wanted.use == "left_out":
        query = query.where(Study.uid.in_(unused))
    elif wanted.use:
        query = query.where(Study.uid.not_in(unused))
    return query


def first_days(session: Session, patients: set[str]) -> dict[str, int]:
    """Day of each patient's first study, moved as all of the patient's days are."""
    rows = session.execute(
        select(Study.patient, func.min(Study.day))
        .where(Study.patient.in_(patients), Study.day.is_not(None))
        .group_by(Study.patient)
    )
    return {patient: day for patient, day in rows if day is not None}


def _flags(session: Session, uids: list[str]) -> dict[str, list[str]]:
    """Names of the flags of studies that a person would object to."""
    found: dict[str, list[str]] = defaultdict(list)
    for uid, flag in session.execute(
        select(Quality.study, Quality.flag)
        .where(
            Quality.study.in_(uids),
            Quality.flag != NO_FLAG,
            Quality.strength >= names.CLEAR_FLAG,
        )
        .distinct()
        .order_by(Quality.flag)
    ):
        found[uid].append(names.flag_words(flag))
    return found


def _assessed(session: Session, uids: list[str]) -> dict[str, int]:
    """How many images of each study were assessed; one of which none was is absent."""
    rows = session.execute(
        select(Quality.study, func.count(Quality.view.distinct()))
        .where(Quality.study.in_(uids))
        .group_by(Quality.study)
    )
    return {uid: int(count) for uid, count in rows}


def day_words(day: int | None, first: int | None) -> str:
    """When a study was, counted from the patient's first: no date."""
    if day is None or first is None:
        return "day not known"
    if day == first:
        return "first study"
    return f"{counted(day - first, 'day')} after the first"


def in_order(images: list[Image]) -> list[Image]:
    """Sort images as views are listed everywhere."""
    order = {view.value: place for place, view in enumerate(View)}
    return sorted(images, key=lambda image: order.get(image.view, len(order)))
