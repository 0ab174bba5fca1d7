"""What came in and is in use, as the first page shows it: exact counts, for the hospital alone.

A study that a person left out is counted nowhere but in `totals`, as left out.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from client.browse import names_and_advice as names
from client.browse.charts import Histogram, histogram, strips
from client.store.catalogue import Image, Label, Patient, Quality, SourceFile, Study, Volume
from client.store.exclusions import left_out
from client.store.split import SPLITS
from shared.dicom.verdicts import VERDICTS
from shared.records import Vendor, View

#: Regions whose distribution is drawn; the diagnostic ones.
DRAWN_REGIONS: Final = ("L1-L4", "femoral_neck", "total_hip")
BMD_STEP: Final = 0.05
AGE_STEP: Final = 5.0
#: Of a flag that stands for "was assessed, nothing found" (`client.store.catalogue.Quality`).
NO_FLAG: Final = "none"


def overview(session: Session, folder: Path) -> dict[str, Any]:
    """Gather everything that the first page shows.

    Parameters
    ----------
    session : Session
        Of the catalogue; only read.
    folder : Path
        The site folder.

    Returns
    -------
    dict
        ``totals``, ``arrived`` (view by vendor), ``splits``, ``scanners``, ``labels``,
        ``charts``, ``quality`` and ``set_aside``; see the functions below.
    """
    unused = left_out(folder)
    return {
        "totals": totals(session, unused),
        "arrived": arrived(session, unused),
        "splits": splits(session, unused),
        "scanners": scanners(session, unused),
        "labels": labels(session, unused),
        "charts": charts(session, unused),
        "quality": quality(session, unused),
        "set_aside": set_aside(session),
    }


def totals(session: Session, unused: frozenset[str]) -> dict[str, int]:
    """Numbers at the top of the page; ``left_out`` are the studies of the store in `unused`."""

    def count(query: Any) -> int:
        return int(session.scalar(query) or 0)

    flagged = select(Quality.study, Quality.view).where(
        Quality.flag != NO_FLAG,
        Quality.strength >= names.CLEAR_FLAG,
        Quality.study.not_in(unused),
    )
    image, volume = Image.study.not_in(unused), Volume.study.not_in(unused)
    return {
        "studies": count(select(func.count()).where(Study.uid.not_in(unused))),
        "patients": count(
            select(func.count(Study.patient.distinct())).where(Study.uid.not_in(unused))
        ),
        "images": count(select(func.count()).select_from(Image).where(image)),
        "volumes": count(select(func.count()).select_from(Volume).where(volume)),
        "masks": count(select(func.count(Image.mask_digest)).where(image))
        + count(select(func.count(Volume.mask_digest)).where(volume)),
        "aside": count(select(func.count()).where(SourceFile.verdict != "taken")),
        "flagged": count(select(func.count()).select_from(flagged.distinct().subquery())),
        "left_out": count(select(func.count()).where(Study.uid.in_(unused))),
    }


def arrived(session: Session, unused: frozenset[str]) -> dict[str, Any]:
    """Images by view and vendor: ``vendors`` and ``rows`` (view, images by vendor, masks)."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    masks: dict[str, int] = defaultdict(int)
    for view, vendor, images, with_mask in session.execute(
        select(Image.view, Study.vendor, func.count(), func.count(Image.mask_digest))
        .join(Study, Study.uid == Image.study)
        .where(Study.uid.not_in(unused))
        .group_by(Image.view, Study.vendor)
    ):
        found[names.view_words(view)][vendor] += images
        masks[names.view_words(view)] += with_mask
    for vendor, volumes, with_mask in session.execute(
        select(Study.vendor, func.count(), func.count(Volume.mask_digest))
        .join(Study, Study.uid == Volume.study)
        .where(Study.uid.not_in(unused))
        .group_by(Study.vendor)
    ):
        found["CT series"][vendor] += volumes
        masks["CT series"] += with_mask
    vendors = [v for v in _vendors() if any(v in row for row in found.values())]
    order = [*names.VIEWS.values(), "CT series"]
    return {
        "vendors": [names.vendor_words(vendor) for vendor in vendors],
        "rows": [
            {
                "view": view,
                "images": [found[view].get(vendor, 0) for vendor in vendors],
                "all": sum(found[view].values()),
                "masks": masks[view],
            }
            for view in sorted(found, key=lambda v: order.index(v) if v in order else len(order))
        ],
    }


def splits(session: Session, unused: frozenset[str]) -> list[dict[str, Any]]:
    """Patients and studies by what they are used for."""

    def by_split(number: Any) -> dict[Any, int]:
        return _pairs(
            session,
            select(Patient.split, number)
            .join(Study, Study.patient == Patient.pseudonym)
            .where(Study.uid.not_in(unused))
            .group_by(Patient.split),
        )

    patients, studies = by_split(func.count(Patient.pseudonym.distinct())), by_split(func.count())
    return [
        {
            "split": names.SPLITS[split],
            "meaning": names.SPLITS_IN_WORDS[split],
            "patients": patients.get(split, 0),
            "studies": studies.get(split, 0),
        }
        for split in SPLITS
    ]


def scanners(session: Session, unused: frozenset[str]) -> list[dict[str, Any]]:
    """Studies by scanner; maker and model are text as the scanner writes it."""
    return [
        {
            "vendor": names.vendor_words(vendor),
            "maker": maker or "",
            "model": model or "",
            "studies": count,
        }
        for vendor, maker, model, count in session.execute(
            select(Study.vendor, Study.maker, Study.model, func.count())
            .where(Study.uid.not_in(unused))
            .group_by(Study.vendor, Study.maker, Study.model)
            .order_by(func.count().desc(), Study.vendor, Study.model)
        )
    ]


def labels(session: Session, unused: frozenset[str]) -> dict[str, int]:
    """Studies with BMD and with Genant grades, and labels about which sources differ."""
    with_kind = _pairs(
        session,
        select(Label.kind, func.count(Label.study.distinct()))
        .where(Label.disputed.is_(False), Label.study.not_in(unused))
        .group_by(Label.kind),
    )
    differ = select(func.count()).where(Label.disputed.is_(True), Label.study.not_in(unused))
    disputed = session.scalar(differ) or 0
    return {
        "bmd": with_kind.get("bmd", 0),
        "genant": with_kind.get("genant", 0),
        "disputed": int(disputed),
    }


def charts(session: Session, unused: frozenset[str]) -> dict[str, Any]:
    """Distributions: ``age``, ``bmd`` (a list) and ``spacing``; None where there is nothing."""
    ages: dict[str, list[float]] = defaultdict(list)
    for sex, age in session.execute(
        select(Study.sex, Study.age_years).where(
            Study.age_years.is_not(None), Study.uid.not_in(unused)
        )
    ):
        ages[sex or ""].append(age or 0.0)
    by_sex = {
        name: ages[sex]
        for sex, name in (("F", "Women"), ("M", "Men"), ("", "Sex not given"))
        if ages.get(sex)
    }
    found: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for view, row, column, count in session.execute(
        select(Image.view, Image.row_mm, Image.column_mm, func.count())
        .where(Image.study.not_in(unused))
        .group_by(Image.view, Image.row_mm, Image.column_mm)
        .order_by(Image.row_mm)
    ):
        found[view].append((float(row), float(column), int(count)))
    ordered = {names.view_words(view): found[view] for view in View if view in found}
    return {
        "age": histogram("Age at the scan", "years", by_sex, AGE_STEP, 0, 2),
        "bmd": _bmd_charts(session, unused),
        "spacing": strips(ordered),
        "provenance": [
            {"what": names.SPACING.get(what, what), "images": count}
            for what, count in session.execute(
                select(Image.spacing_provenance, func.count())
                .where(Image.study.not_in(unused))
                .group_by(Image.spacing_provenance)
                .order_by(func.count().desc())
            )
        ],
    }


def _bmd_charts(session: Session, unused: frozenset[str]) -> list[Histogram]:
    """One histogram per region, by vendor: their scales differ."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, vendor, value in session.execute(
        select(Label.name, Study.vendor, Label.value)
        .join(Study, Study.uid == Label.study)
        .where(
            Label.kind == "bmd",
            Label.disputed.is_(False),
            Label.name.in_(DRAWN_REGIONS),
            Label.study.not_in(unused),
        )
    ):
        values[name][vendor].append(float(value))
    drawn = []
    for region in DRAWN_REGIONS:
        parts = {
            names.vendor_words(v): values[region][v] for v in _vendors() if values[region].get(v)
        }
        chart = histogram(f"{names.region_words(region)} BMD", "g/cm²", parts, BMD_STEP, 2)
        if chart is not None:
            drawn.append(chart)
    return drawn


def quality(session: Session, unused: frozenset[str]) -> dict[str, Any]:
    """``assessed`` images and ``rows``: flag, clear and slight findings."""
    used = Quality.study.not_in(unused)
    assessed = select(Quality.study, Quality.view).where(used).distinct().subquery()
    clear: dict[str, int] = defaultdict(int)
    slight: dict[str, int] = defaultdict(int)
    for flag, strength in session.execute(
        select(Quality.flag, Quality.strength).where(Quality.flag != NO_FLAG, used)
    ):
        (clear if strength >= names.CLEAR_FLAG else slight)[flag] += 1
    flags = sorted({*clear, *slight}, key=lambda flag: (-clear[flag], -slight[flag], flag))
    return {
        "assessed": int(session.scalar(select(func.count()).select_from(assessed)) or 0),
        "rows": [
            {
                "flag": flag,
                "name": names.flag_words(flag),
                "meaning": names.flag_meaning(flag),
                "evident": clear[flag],
                "slight": slight[flag],
            }
            for flag in flags
        ],
    }


def set_aside(session: Session) -> dict[str, Any]:
    """Files and table rows by verdict and reason: ``all`` and ``groups``."""
    found: dict[str, list[dict[str, Any]]] = {verdict: [] for verdict in VERDICTS}
    for verdict, reason, count in session.execute(
        select(SourceFile.verdict, SourceFile.reason, func.count())
        .group_by(SourceFile.verdict, SourceFile.reason)
        .order_by(func.count().desc(), SourceFile.reason)
    ):
        found.setdefault(verdict, []).append(
            {
                "reason": reason,
                "sentence": names.reason_sentence(reason),
                "advice": names.advice(reason, verdict),
                "files": count,
            }
        )
    return {
        "all": sum(row["files"] for rows in found.values() for row in rows),
        "groups": {
            verdict: {"files": sum(row["files"] for row in rows), "rows": rows}
            for verdict, rows in found.items()
        },
    }


def _vendors() -> list[str]:
    return [vendor.value for vendor in Vendor]


def _pairs(session: Session, query: Any) -> dict[Any, int]:
    return {key: int(count) for key, count in session.execute(query)}
