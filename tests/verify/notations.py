"""Two hundred notations of each kind that headers and reports hold: read right, or not at all.

Each is drawn, seeded, from what a number, a date, a text or a density can look like outside the
standard, with what it is; some can mean two things and must not be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pytest
from pydicom.charset import encode_string
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from shared.dicom.attributes import quietly, study_date, text_of
from shared.dicom.labels.density_units import to_grams_per_square_centimetre
from shared.dicom.pixels.spacing import find_spacing
from shared.dicom.values.character_sets import settle_character_set
from shared.dicom.verdicts import SetAsideError
from shared.records import Vendor
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least

SEED: Final = 2501
EACH: Final = 200
#: VRs that hold text as it is; those of several values are divided at a backslash.
TEXT_VRS: Final = ("DS", "LO", "SH", "ST", "LT", "UT", "UC", "UN", "OB", "CS", "IS")
DAYS: Final = (
    "%Y.%m.%d", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y",
    "%Y%m%d1015",
)  # fmt: skip
AREAL: Final = (
    "{}/{}2", "{}.{}-2", "{}/{}²", "{}/{}^2", "{} {}-2", "{}*{}-2", "{}·{}⁻²", "{}/({}2)",
    "{}/{}3", "{}.{}-3",
)  # fmt: skip
LETTERS: Final = {
    "ISO_IR 101": (["iso8859_2"], "ąęłńśźżčřšž"), "ISO_IR 144": (["iso8859_5"], "абвгдежзиклмн"),
    "ISO_IR 126": (["iso8859_7"], "αβγδεζηθικλμ"), "GB18030": (["gb18030"], "王小东张三李四"),
    "GBK": (["gbk"], "王小東張李四"), "ISO_IR 192": (["utf-8"], "äöüαβγабв山田김희"),
    "\\ISO 2022 IR 149": (["iso8859", "euc_kr"], "김희중박이최"),
    "\\ISO 2022 IR 87": (["iso8859", "iso2022_jp"], "山田太郎花子"),
    None: (["utf-8"], "äöüßабв山田김희"), "ISO_IR 100": (["utf-8"], "абв山田김희αβγ"),
}  # fmt: skip


def _with(**elements: tuple[str, bytes]) -> Dataset:
    dataset = Dataset()
    dataset.Rows = dataset.Columns = 512
    for keyword, (vr, value) in elements.items():
        value += b" " * (len(value) % 2)
        dataset[Tag(keyword)] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
    return dataset


def _spacing_is(dataset: Dataset, row: float, column: float) -> bool:
    try:
        found, _ = find_spacing(dataset, Vendor.OTHER)
    except SetAsideError:
        return False
    return bool(np.allclose(found, (row, column), rtol=1e-9))


def spacings(generator: np.random.Generator) -> bool:
    """A spacing with commas, other separators, a unit or another VR."""
    digits = int(generator.integers(1, 6))
    row, column = (round(float(v), digits) for v in generator.uniform(0.6, 1.6, 2))
    if generator.integers(8) == 0:
        return _spacing_is(
            _with(PixelSpacing=("FD", np.array([row, column]).tobytes())), row, column
        )
    texts = [f"{value:.{digits}f}" for value in (row, column)]
    comma, vr = bool(generator.integers(2)), str(generator.choice(TEXT_VRS))
    between = ("\\", "; ", " ", ",", ", ") if vr != "IS" else ("\\",)
    unit = " mm" if vr in ("LO", "UT") and generator.integers(3) == 0 else ""
    text = str(generator.choice(between)).join(one + unit for one in texts)
    if comma:
        text = text.replace(".", ",")
    return _spacing_is(_with(PixelSpacing=(vr, text.encode())), row, column)


def doubtful_spacings(generator: np.random.Generator) -> bool:
    """One that can mean two things, or holds one number too few; it must not be used."""
    first, second = (int(v) for v in generator.integers(1, 5, 2))
    odd = (
        f"{first},{second}",
        f"0,{second}",
        f"{first},{second},{first}",
        f"0.{first}",
        "?",
        "0\\0",
    )
    dataset = _with(PixelSpacing=("LO", str(generator.choice(odd)).encode()))
    with pytest.raises(SetAsideError):
        find_spacing(dataset, Vendor.OTHER)
    return True


def distances(generator: np.random.Generator) -> bool:
    """Size on the detector with distances of the source, a third of them impossible."""
    pixel, patient = float(generator.uniform(0.1, 0.3)), float(generator.uniform(800, 1600))
    factor = float(generator.uniform(1.01, 2.0))
    if generator.integers(3) == 0:
        factor = float(generator.choice([0.0, -1.0, 1.0, 0.7, 4.0]))
    texts = [f"{value:.4f}" for value in (pixel, patient, patient * factor)]
    rounded = [float(text) for text in texts]
    imager, near, far = (
        text.replace(".", ",") if generator.integers(2) else text for text in texts
    )
    dataset = _with(
        ImagerPixelSpacing=("DS", f"{imager}\\{imager}".encode()),
        DistanceSourceToPatient=("DS", near.encode()),
        DistanceSourceToDetector=("DS", far.encode()),
    )
    real = rounded[0] * (rounded[1] / rounded[2] if 1 < factor <= 2 else 1.0)
    return _spacing_is(dataset, real, real)


def dates(generator: np.random.Generator) -> bool:
    """A day in some notation; of those with slashes or dashes and the year last, most are two."""
    day = date(1990, 1, 1) + timedelta(days=int(generator.integers(13_000)))
    notation = str(generator.choice(DAYS))
    vr = str(generator.choice(["DA", "LO", "DT", "UN", "ST", "SH"]))
    found = study_date(_with(StudyDate=(vr, day.strftime(notation).encode())))
    unclear = notation[1] != "Y" and notation[2] != "." and day.day <= 12 and day.day != day.month
    return found == (None if unclear else day)


def texts(generator: np.random.Generator) -> bool:
    """A protocol's name in a set that the file names, or names wrongly, or not."""
    said = list(LETTERS)[int(generator.integers(len(LETTERS)))]
    codecs, letters = LETTERS[said]
    text = "".join(generator.choice(list(letters), int(generator.integers(2, 9)))) + " AP"
    dataset = _with(ProtocolName=("LO", encode_string(text, codecs)))
    if said is not None:
        dataset.SpecificCharacterSet = said.split("\\")
    dataset.set_original_encoding(False, True, dataset._character_set)
    settle_character_set(dataset)
    return text_of(dataset, "ProtocolName") == text


def units(generator: np.random.Generator) -> bool:
    """A unit of areal density in some notation."""
    mass, grams = [("g", 1.0), ("mg", 1e-3), ("kg", 1e3), ("µg", 1e-6)][int(generator.integers(4))]
    area, cm2 = [("cm", 1.0), ("m", 1e4), ("mm", 0.01), ("dm", 100.0)][int(generator.integers(4))]
    number = int(generator.integers(len(AREAL)))
    found = to_grams_per_square_centimetre(AREAL[number].format(mass, area))
    return (
        found is None if number >= 8 else found is not None and bool(np.isclose(found, grams / cm2))
    )


KINDS: Final[dict[str, Callable[[np.random.Generator], bool]]] = {
    one.__name__: one for one in (spacings, doubtful_spacings, distances, dates, texts, units)
}


def right_of(kind: str, number: int) -> int:
    """Count how many of so many notations of a kind are read right."""
    generator = np.random.default_rng([SEED, list(KINDS).index(kind)])
    with quietly():
        return sum(KINDS[kind](generator) for _ in range(number))


def plan() -> Iterator[Planned]:
    """A run a kind."""
    for kind in KINDS:
        yield Planned(kind, digest_of([SEED, EACH, kind]), partial(_count, kind))


def _count(kind: str, tell: Tell) -> dict[str, Any]:
    tell(kind, 0.0)
    return {"right": right_of(kind, EACH)}


def judge(runs: Runs) -> list[Line]:
    """Every one is read right, or not used where it can mean two things."""
    return [
        at_least(run.figures["right"], EACH, f"{kind}: right of {EACH}", digits=0)
        for kind, run in runs.items()
    ]


TOPIC: Final = Topic(
    "notations", "Numbers, dates, texts and units outside the standard are read right or not used.",
    plan, judge,
)  # fmt: skip
