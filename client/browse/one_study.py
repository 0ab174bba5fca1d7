"""One study as its page shows it: lengths in mm, areas in cm², BMD in g/cm², days from the first.

Nothing here is read by a name that came with a request: the study is looked up in the
catalogue, and files are found from what the catalogue says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.browse import names_and_advice as names
from client.browse.overview import NO_FLAG
from client.browse.pictures import CT_CODES, region_facts, swatch
from client.browse.slices import PLANES, cut_slice, slice_spacing, slices_through_spine
from client.browse.studies import SHOWN_DIGITS, day_words, first_days, in_order
from client.store.arrays import mapped
from client.store.catalogue import Image, Label, Patient, Quality, Study, Volume
from client.store.exclusions import left_out
from client.store.marks import read_marks
from client.store.pairing import SENTENCES, Unpaired
from client.store.patient_source import open_volume, pair_stored
from client.store.site_store import SiteStore
from shared.dicom.ct.completeness import COMPLETENESS_WORDS, UNKNOWN
from shared.dicom.labels.marks import KeptMark
from shared.errors import StoreMissingError
from shared.findings.attenuation import calibration_sentence, read_attenuation
from shared.records import PairedLabels, View
from shared.regions import BMD_REGIONS, REGION_CODES, RIGHT_HIP, UNIONS, VERTEBRAE, sideless


def one_study(session: Session, store: SiteStore, uid: str) -> dict[str, Any] | None:
    """Everything that the page of one study shows; None if there is no such study."""
    study = session.get(Study, uid)
    if study is None:
        return None
    patient = session.get(Patient, study.patient)
    firsts = first_days(session, {study.patient})
    siblings = list(
        session.scalars(
            select(Study).where(Study.patient == study.patient).order_by(Study.day, Study.uid)
        )
    )
    labels = list(session.scalars(select(Label).where(Label.study == uid)))
    images = list(session.scalars(select(Image).where(Image.study == uid)))
    volumes = session.scalars(select(Volume).where(Volume.study == uid).order_by(Volume.series))
    split = patient.split if patient is not None else None
    marks = read_marks(session, [uid]).get(uid, {})
    months = store.config.pairing.months
    pairing, _ = pair_stored(session, left_out(store.folder), months, study.patient)
    genant = _genant(labels)
    fractured = {row["region"] for row in genant if row["fractured"]}
    pictures = [
        _image(session, store, image, labels, marks.get(image.view, []))
        for image in in_order(images)
    ]
    series = [
        _volume(store, volume, n, marks.get(volume.series, []), study.age_years, fractured)
        for n, volume in enumerate(volumes)
    ]
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
        "vendor": names.vendor_words(study.vendor),
        "maker": study.maker or "",
        "model": study.model or "",
        "sex": names.SEXES.get(study.sex or "", "not given"),
        "age": names.age_words(study.age_years),
        "height_cm": study.height_cm,
        "weight_kg": study.weight_kg,
        "ethnic_group": study.ethnic_group or "",
        "split": names.SPLITS.get(split or "", "not divided yet"),
        "method": names.method_words(study.method),
        "images": pictures,
        "volumes": series,
        "no_flag": names.no_flag_words(
            sum(one["assessed"] for one in pictures), len(pictures) + len(series)
        ),
        "bmd": _bmd(labels),
        "paired": _paired(pairing.paired.get(uid)),
        "unpaired": _unpaired(pairing.unpaired.get(uid)),
        "genant": [row for row in genant if row["fractured"] or row["disputed"]],
        "normal": [row["region"] for row in genant if not row["fractured"] and not row["disputed"]],
    }


def _image(
    session: Session,
    store: SiteStore,
    image: Image,
    labels: list[Label],
    placed: Sequence[KeptMark],
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
    kind = "genant" if image.view == View.SPINE_LATERAL else "bmd"
    used = {label.name: label for label in labels if label.kind == kind and not label.disputed}
    if image.view == View.HIP_RIGHT:  # its map has the names of a left one's regions
        used = {sideless(name): one for name, one in used.items() if name in RIGHT_HIP}
    place = {name: n for n, name in enumerate(dict.fromkeys((*VERTEBRAE, *REGION_CODES)))}
    return {
        "view": image.view,
        "name": names.view_words(image.view),
        "sides": names.SIDES.get(image.view, ("", "")),
        "sides_in_words": names.SIDES_IN_WORDS.get(image.view, ""),
        "problem": problem,
        "rows": size[0],
        "columns": size[1],
        "row_mm": image.row_mm,
        "column_mm": image.column_mm,
        "scans": image.scans or 1,
        "chosen": image.chosen or "",
        "provenance": names.SPACING.get(image.spacing_provenance, image.spacing_provenance),
        "lossy": image.lossy,
        "masked": image.mask_digest is not None,
        "regions": [
            {
                "name": names.region_words(region.name),
                "short": names.SHORT_REGIONS.get(region.name, region.name),
                "swatch": swatch(region.code),
                "area_cm2": region.pixels * image.row_mm * image.column_mm / 100.0,
                "x_mm": (region.column + 0.5) * image.column_mm,
                "y_mm": (region.row + 0.5) * image.row_mm,
                "value": _value(used.get(region.name)),
                "fractured": kind == "genant" and _fractured(used.get(region.name)),
            }
            for region in sorted(regions, key=lambda region: place[region.name])
        ],
        "placed": [_placed(mark, image) for mark in placed],
        "assessed": bool(marks),
        "marks": [
            {
                "name": names.flag_words(mark.flag),
                "meaning": names.flag_meaning(mark.flag),
                "strength": mark.strength,
                "evident": mark.strength >= names.CLEAR_FLAG,
                "code": mark.code,
            }
            for mark in marks
            if mark.flag != NO_FLAG
        ],
    }


def _placed(mark: KeptMark, image: Image) -> dict[str, Any]:
    """A box or point of a table on an image, from its upper left corner, mm."""
    sides = (image.column_mm, image.row_mm)
    at = [number * sides[place % 2] for place, number in enumerate(mark.numbers)]
    return {"kind": mark.kind, "name": mark.vertebra, "at": at}


def _slices(marks: Sequence[KeptMark]) -> list[dict[str, Any]]:
    """Slices that tables mark, from the head down; the first slice at the feet is number 1."""
    found = [{"name": one.vertebra, "number": int(one.numbers[0]) + 1} for one in marks]
    return sorted(found, key=lambda one: -one["number"])


def _value(label: Label | None) -> str:
    """What is known of a region, in the legend of its picture."""
    if label is None:
        return ""
    return _grade(label.value) if label.kind == "genant" else f"{label.value:.3f} g/cm²"


def _fractured(label: Label | None) -> bool:
    return label is not None and label.value >= 1


def _grade(value: float) -> str:
    """Genant grade as a reader says it."""
    known = value in range(len(names.GENANT))
    return f"{names.GENANT[int(value)]} (grade {value:.0f})" if known else f"grade {value:g}"


def _volume(
    store: SiteStore,
    volume: Volume,
    number: int,
    marks: Sequence[KeptMark],
    age_years: float | None,
    fractured: Collection[str],
) -> dict[str, Any]:
    """One CT series and its slices through the spine; `fractured` are levels of its patient."""
    spacing = (volume.slice_mm, volume.row_mm, volume.column_mm)
    problem, planes, regions, attenuation = "", [], [], None
    try:
        hu = mapped(store.array_path(volume.study, volume.series, "hu"))
        where = slices_through_spine(hu, spacing)
        for plane in PLANES:
            rows, columns = cut_slice(hu, plane, where[plane]).shape
            row_mm, column_mm = slice_spacing(spacing, plane)
            planes.append(
                {"plane": plane, "height_mm": rows * row_mm, "width_mm": columns * column_mm}
            )
        if volume.mask_digest is not None:
            drawn = mapped(store.array_path(volume.study, volume.series, "regions"))
            cuts = [cut_slice(drawn, plane, where[plane]) for plane in PLANES]
            there = {code for cut in cuts for code in np.unique(cut)}
            regions = [
                {"name": name, "swatch": swatch(code)}
                for name, code in CT_CODES.items()
                if code in there
            ]
            attenuation = read_attenuation(open_volume(store.arrays, volume), age_years, fractured)
    except (StoreMissingError, OSError, ValueError):
        problem = "The series is missing or damaged; restore the store from your backup."
    return {
        "number": number,
        "problem": problem,
        "planes": planes,
        "regions": regions,
        "attenuation": attenuation,
        "mineral": "" if attenuation is None else calibration_sentence(attenuation),
        "masked": volume.mask_digest is not None,
        "slices_marked": _slices(marks),
        "slices": volume.slices,
        "spacing": spacing,
        "kvp": volume.kvp,
        "kernel": volume.kernel,
        "thickness_mm": volume.thickness_mm,
        "contrast": volume.contrast,
        "lossy": volume.lossy,
        "resampled": volume.resampled,
        "completeness": COMPLETENESS_WORDS[volume.completeness or UNKNOWN],
    }


def _bmd(labels: list[Label]) -> list[dict[str, Any]]:
    """BMD by region in the order of a report, g/cm²."""
    order = {name: place for place, name in enumerate((*BMD_REGIONS, *RIGHT_HIP))}
    return [
        {
            "region": names.region_words(label.name),
            "value": label.value,
            "disputed": label.disputed,
            "whole": label.name in UNIONS,
        }
        for label in sorted(labels, key=lambda one: (order.get(one.name, 99), one.name))
        if label.kind == "bmd"
    ]


def _paired(found: PairedLabels | None) -> dict[str, Any] | None:
    """BMD of another visit that counts for the study, and how far away that was."""
    if found is None:
        return None
    return {
        "vendor": names.vendor_words(found.vendor),
        "when": names.months_words(found.months),
        "bmd": [
            {
                "region": names.region_words(region),
                "value": found.labels.bmd[region],
                "whole": region in UNIONS,
            }
            for region in BMD_REGIONS
            if region in found.labels.bmd
        ],
    }


def _unpaired(found: Unpaired | None) -> str:
    """Why no BMD of another visit counts for the study; empty if one does or it has its own."""
    return "" if found is None else SENTENCES[found.reason]


def _genant(labels: list[Label]) -> list[dict[str, Any]]:
    """Genant grades from cranial to caudal."""
    order = {name: place for place, name in enumerate(VERTEBRAE)}
    return [
        {
            "region": label.name,
            "fractured": _fractured(label),
            "words": _grade(label.value),
            "disputed": label.disputed,
        }
        for label in sorted(labels, key=lambda one: (order.get(one.name, 99), one.name))
        if label.kind == "genant"
    ]
