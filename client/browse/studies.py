"""The list of studies, and one study: looked up in the catalogue, never by a path."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from client.browse import words
from client.browse.overview import NO_FLAG
from client.browse.pictures import (
    CT_CODES,
    PLANES,
    middle_slice,
    region_facts,
    slice_spacing,
    swatch,
)
from client.catalogue import Image, Label, Patient, Quality, Study, Volume
from client.store import SPLITS, SiteStore
from shared.records import Vendor, View
from shared.regions import BMD_REGIONS, REGION_CODES, UNIONS, VERTEBRAE

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
        vendor=[(v.value, words.vendor_words(v)) for v in Vendor if v in vendors],
        view=[(v.value, words.view_words(v)) for v in View if v in views]
        + ([(CT, "CT series")] if has_ct else []),
        flag=([(ANY_FLAG, "Any flag")] if flags else [])
        + [(flag, words.flag_words(flag)) for flag in flags],
        split=[(split, words.SPLITS[split]) for split in SPLITS],
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
    firsts = _first_days(session, {study.patient for study, _ in some})
    images = defaultdict(list)
    for image in session.scalars(
        select(Image).where(Image.study.in_(uids)).order_by(Image.study, Image.view)
    ):
        images[image.study].append(image)
    flags = _flags(session, uids)
    labels: dict[str, set[str]] = defaultdict(set)
    for uid, kind in session.execute(
        select(Label.study, Label.kind)
        .where(Label.study.in_(uids), Label.disputed.is_(False))
        .distinct()
    ):
        labels[uid].add(kind)
    volumes = {
        uid: count
        for uid, count in session.execute(
            select(Volume.study, func.count())
            .where(Volume.study.in_(uids))
            .group_by(Volume.study)
        )
    }
    rows = [
        {
            "uid": study.uid,
            "patient": study.patient[:SHOWN_DIGITS],
            "when": day_words(study.day, firsts.get(study.patient)),
            "vendor": words.vendor_words(study.vendor),
            "model": study.model or "",
            "sex": words.SEXES.get(study.sex or "", "Sex not given"),
            "age": words.age_words(study.age_years),
            "images": [
                {"view": i.view, "name": words.view_words(i.view), "mask": bool(i.mask_digest)}
                for i in _in_order(images[study.uid])
            ],
            "volumes": volumes.get(study.uid, 0),
            "labels": labels[study.uid],
            "flags": flags.get(study.uid, []),
            "split": words.SPLITS.get(split or "", "Not divided yet"),
            "left_out": study.uid in unused,
        }
        for study, split in some
    ]
    return {"rows": rows, "page": page, "pages": pages, "found": found, "first": start + 1}


def _filtered(wanted: Filter, unused: frozenset[str]) -> Select[tuple[Study, str | None]]:
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
        query = query.where(
            exists().where(Quality.study == Study.uid, Quality.flag == wanted.flag)
        )
    if wanted.split:
        query = query.where(Patient.split == wanted.split)
    if wanted.use == "left_out":
        query = query.where(Study.uid.in_(unused))
    elif wanted.use:
        query = query.where(Study.uid.not_in(unused))
    return query


def _first_days(session: Session, patients: set[str]) -> dict[str, int]:
    """Day of each patient's first study, moved as all of the patient's days are."""
    rows = session.execute(
        select(Study.patient, func.min(Study.day))
        .where(Study.patient.in_(patients), Study.day.is_not(None))
        .group_by(Study.patient)
    )
    return {patient: int(day) for patient, day in rows}


def _flags(session: Session, uids: list[str]) -> dict[str, list[str]]:
    """Names of the flags of studies that a person would object to."""
    found: dict[str, list[str]] = defaultdict(list)
    for uid, flag in session.execute(
        select(Quality.study, Quality.flag)
        .where(
            Quality.study.in_(uids),
            Quality.flag != NO_FLAG,
            Quality.strength >= words.CLEAR_FLAG,
        )
        .distinct()
        .order_by(Quality.flag)
    ):
        found[uid].append(words.flag_words(flag))
    return found


def day_words(day: int | None, first: int | None) -> str:
    """When a study was, counted from the patient's first: no date."""
    if day is None or first is None:
        return "day not known"
    return "first study" if day == first else f"{day - first} days after the first"


def one_study(session: Session, store: SiteStore, uid: str) -> dict[str, Any] | None:
    """Everything that the page of one study shows; None if there is no such study."""
    study = session.get(Study, uid)
    if study is None:
        return None
    patient = session.get(Patient, study.patient)
    firsts = _first_days(session, {study.patient})
    siblings = list(
        session.scalars(
            select(Study).where(Study.patient == study.patient).order_by(Study.day, Study.uid)
        )
    )
    labels = list(session.scalars(select(Label).where(Label.study == uid)))
    images = list(session.scalars(select(Image).where(Image.study == uid)))
    volumes = session.scalars(select(Volume).where(Volume.study == uid).order_by(Volume.series))
    split = patient.split if patient is not None else None
    return {
        "uid": uid,
        "patient": study.patient[:SHOWN_DIGITS],
        "number": [s.uid for s in siblings].index(uid) + 1,
        "others": [
            {
                "uid": s.uid,
                "when": day_words(s.day, firsts.get(study.patient)),
                "here": s.uid == uid,
            }
            for s in siblings
        ],
        "when": day_words(study.day, firsts.get(study.patient)),
        "vendor": words.vendor_words(study.vendor),
        "maker": study.maker or "",
        "model": study.model or "",
        "sex": words.SEXES.get(study.sex or "", "not given"),
        "age": words.age_words(study.age_years),
        "height_cm": study.height_cm,
        "weight_kg": study.weight_kg,
        "ethnic_group": study.ethnic_group or "",
        "split": words.SPLITS.get(split or "", "not divided yet"),
        "method": words.method_words(study.method),
        "images": [_image(session, store, image, labels) for image in _in_order(images)],
        "volumes": [_volume(store, volume, n) for n, volume in enumerate(volumes)],
        "bmd": _bmd(labels),
        "genant": _genant(labels),
    }


def _image(
    session: Session, store: SiteStore, image: Image, labels: list[Label]
) -> dict[str, Any]:
    """One projection, its regions and its quality; lengths in mm, areas in cm²."""
    problem, size, regions = "", (0, 0), []
    try:
        size = np.load(store.array_path(image.study, image.view, "pixels"), mmap_mode="r").shape
        if image.mask_digest is not None:
            drawn = np.load(store.array_path(image.study, image.view, "regions"), mmap_mode="r")
            regions = region_facts(drawn, REGION_CODES)
    except (OSError, ValueError):
        problem = "The picture is missing or damaged; restore the store from your backup."
    marks = list(
        session.scalars(
            select(Quality)
            .where(Quality.study == image.study, Quality.view == image.view)
            .order_by(Quality.strength.desc(), Quality.flag)
        )
    )
    used = {label.name: label for label in labels if not label.disputed}
    place = {name: number for number, name in enumerate((*VERTEBRAE, *REGION_CODES))}
    return {
        "view": image.view,
        "name": words.view_words(image.view),
        "sides": words.SIDES.get(image.view, ("", "")),
        "sides_in_words": words.SIDES_IN_WORDS.get(image.view, ""),
        "problem": problem,
        "rows": size[0],
        "columns": size[1],
        "row_mm": image.row_mm,
        "column_mm": image.column_mm,
        "provenance": words.SPACING.get(image.spacing_provenance, image.spacing_provenance),
        "lossy": image.lossy,
        "masked": image.mask_digest is not None,
        "regions": [
            {
                "name": words.region_words(region.name),
                "short": region.name if region.name in VERTEBRAE else "",
                "swatch": swatch(region.code),
                "area_cm2": region.pixels * image.row_mm * image.column_mm / 100.0,
                "x_mm": (region.column + 0.5) * image.column_mm,
                "y_mm": (region.row + 0.5) * image.row_mm,
                "value": _value(used.get(region.name), image.view),
            }
            for region in sorted(regions, key=lambda region: place[region.name])
        ],
        "assessed": bool(marks),
        "marks": [
            {
                "name": words.flag_words(mark.flag),
                "meaning": words.flag_meaning(mark.flag),
                "strength": mark.strength,
                "clear": mark.strength >= words.CLEAR_FLAG,
                "code": mark.code,
            }
            for mark in marks
            if mark.flag != NO_FLAG
        ],
    }


def _value(label: Label | None, view: str) -> str:
    """What is known of a region in the legend of its picture."""
    if label is None:
        return ""
    lateral = view == View.SPINE_LATERAL
    if label.kind == "genant":
        return words.GENANT[int(label.value)] if lateral else ""
    return "" if lateral else f"{label.value:.3f} g/cm²"


def _volume(store: SiteStore, volume: Volume, number: int) -> dict[str, Any]:
    """One CT series and its middle slices."""
    spacing = (volume.slice_mm, volume.row_mm, volume.column_mm)
    problem, planes, regions = "", [], []
    folder = store.arrays / volume.study
    try:
        hu = np.load(folder / f"{volume.series}.hu.npy", mmap_mode="r")
        for plane in PLANES:
            rows, columns = middle_slice(hu, plane).shape
            row_mm, column_mm = slice_spacing(spacing, plane)
            planes.append(
                {"plane": plane, "height_mm": rows * row_mm, "width_mm": columns * column_mm}
            )
        if volume.mask_digest is not None:
            drawn = np.load(folder / f"{volume.series}.regions.npy", mmap_mode="r")
            there = set(np.unique(middle_slice(drawn, "sagittal")))
            there |= set(np.unique(middle_slice(drawn, "coronal")))
            regions = [
                {"name": name, "swatch": swatch(code)}
                for name, code in CT_CODES.items()
                if code in there
            ]
    except (OSError, ValueError):
        problem = "The series is missing or damaged; restore the store from your backup."
    return {
        "number": number,
        "problem": problem,
        "planes": planes,
        "regions": regions,
        "masked": volume.mask_digest is not None,
        "slices": volume.slices,
        "spacing": spacing,
        "kvp": volume.kvp,
        "kernel": volume.kernel,
        "thickness_mm": volume.thickness_mm,
        "contrast": volume.contrast,
        "lossy": volume.lossy,
        "resampled": volume.resampled,
    }


def _bmd(labels: list[Label]) -> list[dict[str, Any]]:
    """BMD by region in the order of a report, g/cm²."""
    order = {name: place for place, name in enumerate(BMD_REGIONS)}
    return [
        {
            "region": words.region_words(label.name),
            "value": label.value,
            "disputed": label.disputed,
            "whole": label.name in UNIONS,
        }
        for label in sorted(labels, key=lambda one: (order.get(one.name, 99), one.name))
        if label.kind == "bmd"
    ]


def _genant(labels: list[Label]) -> list[dict[str, Any]]:
    """Genant grades from cranial to caudal."""
    order = {name: place for place, name in enumerate(VERTEBRAE)}
    return [
        {
            "region": label.name,
            "grade": int(label.value),
            "words": words.GENANT[int(label.value)],
            "disputed": label.disputed,
        }
        for label in sorted(labels, key=lambda one: (order.get(one.name, 99), one.name))
        if label.kind == "genant" and 0 <= label.value < len(words.GENANT)
    ]


def _in_order(images: list[Image]) -> list[Image]:
    order = {view.value: place for place, view in enumerate(View)}
    return sorted(images, key=lambda image: order.get(image.view, len(order)))
