"""What is remembered of an identifier: digests of its forms, the same in any order."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.phi.identifier_index import Remembered, dates_in, forms_of, remember, spelled
from client.store.catalogue import Identifier
from client.store.site_store import SiteStore, init_site
from shared.dicom.phi.identifiers import (
    DEEPEST,
    SeenIdentifier,
    identifiers_of,
    identifiers_of_name,
    identifiers_of_table,
)
from shared.settings.files import SiteConfig

SECRET = bytes(range(32))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return Session(SiteStore.open(tmp_path / "site").engine)


def seen(kind: str, text: str) -> SeenIdentifier:
    return SeenIdentifier(kind, text)


def texts(found: frozenset[SeenIdentifier]) -> set[tuple[str, str]]:
    return {(one.kind, one.text) for one in found}


MANY = [
    seen("name", "Grünewald^Jürgen^^Dr."), seen("patient id", "MRN-123 4567"),
    seen("birth date", "19470806"), seen("address", "Lindenallee 12, 97531 Ostheim"),
    seen("file name", "MRN1234567"), seen("uid", "1.2.840.113619.2.55.3"),
]  # fmt: skip


def test_the_same_in_any_order_and_again_gives_the_same_table(session: Session) -> None:
    remember(session, SECRET, MANY)
    first = sorted(session.execute(select(Identifier.digest, Identifier.kind)).all())
    session.rollback()
    for one in [*reversed(MANY), *MANY]:
        remember(session, SECRET, [one])
    assert sorted(session.execute(select(Identifier.digest, Identifier.kind)).all()) == first


def test_nothing_readable_is_kept_and_another_secret_gives_other_digests(session: Session) -> None:
    remember(session, SECRET, MANY)
    mine = set(session.scalars(select(Identifier.digest)))
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in mine)
    session.rollback()
    remember(session, bytes(32), MANY)
    assert not mine & set(session.scalars(select(Identifier.digest)))


def test_no_representation_shows_the_text() -> None:
    assert "Jürgen" not in repr(MANY)
    assert "jürgen" not in repr(list(forms_of(MANY[0])))


@pytest.mark.parametrize(
    "text",
    ["GRÜNEWALD", "Gruenewald", "Grunewald", "Gru\u0308newald", "Jürgen Grünewald",
     "id MRN1234567.", "mrn_123_4567", "MRN-1234567", "6.8.1947", "August 6, 1947",
     "Lindenallee 12", "97531 ostheim", "1.2.840.113619.2.55.3"],
)  # fmt: skip
def test_it_is_found_in_other_spellings(session: Session, text: str) -> None:
    remember(session, SECRET, MANY)
    assert Remembered(session, SECRET).kinds_in(f"said: {text} then")


@pytest.mark.parametrize(
    "one",
    [seen("name", "Li"), seen("name", "White"), seen("patient id", "12345"),
     seen("text", "normal"), seen("institution", "General Hospital"), seen("date", "unknown"),
     seen("file name", "AP_SPINE"), seen("file name", "IM1"), seen("address", "Kiel")],
)  # fmt: skip
def test_what_would_be_found_anywhere_is_not_remembered(one: SeenIdentifier) -> None:
    assert list(forms_of(one)) == []


def test_a_short_name_is_found_as_a_whole(session: Session) -> None:
    remember(session, SECRET, [seen("name", "White^Mary"), seen("name", "王^小明")])
    known = Remembered(session, SECRET)
    assert known.kinds_in("sent to mary white today") == {"name"}
    assert known.kinds_in("ethnic group white") == set()
    assert known.kinds_in("患者王小明的图像") == {"name"}


def test_a_short_number_is_not_found_in_a_longer_one(session: Session) -> None:
    remember(session, SECRET, [seen("patient id", "712345")])
    known = Remembered(session, SECRET)
    assert known.kinds_in("patient 712345, seen") == {"patient id"}
    assert known.kinds_in("0.712345 712345.5 17123456 20:01:33.712345 a712345b") == set()


def test_phrases_do_not_go_from_one_text_into_another(session: Session) -> None:
    remember(session, SECRET, [seen("address", "Lindenallee 12")])
    known = Remembered(session, SECRET)
    assert known.kinds_in("lindenallee 12") == {"address"}
    assert known.kinds_in("lindenallee\x0012") == set()


@pytest.mark.parametrize(
    "text",
    ["19470806", "1947-08-06", "06.08.1947", "6.8.1947", "08/06/1947", "06 Aug 1947",
     "6. August 1947", "August 6th, 1947", "19470806093000", "06081947", "1947_08_06"],
)  # fmt: skip
def test_a_day_is_read_in_its_common_writings(text: str) -> None:
    assert "19470806" in dates_in(spelled(f"x {text} y"))


def test_everything_that_names_somebody_is_collected() -> None:
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID = "Wendelstein^Irmgard", "OLD-1"
    dataset.Manufacturer, dataset.ManufacturerModelName = "GE Healthcare", "iDXA"
    dataset.SeriesDescription = "AP Lumbar Spine"
    dataset.SOPClassUID, dataset.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    dataset.add_new(0x50002500, "LO", "Curve of Irmgard")
    block = dataset.private_block(0x0019, "HOLOGIC", create=True)
    block.add_new(0x00, "UT", 'var PatientName = "A, B";\nvar DOB = "06 August 1947";\nx = "y";')
    block.add_new(0x01, "LO", "GE Healthcare")
    found = texts(identifiers_of(dataset, "Wendelstein/1.2.3.4/AP_SPINE.dcm"))
    assert found == {
        ("name", "Wendelstein^Irmgard"), ("patient id", "OLD-1"), ("uid", "1.2.3.4"),
        ("text", "Curve of Irmgard"), ("name", "A, B"), ("birth date", "06 August 1947"),
        ("file name", "Wendelstein"), ("file name", "1.2.3.4"), ("file name", "AP_SPINE"),
    }  # fmt: skip


def test_nesting_is_followed_only_so_deep() -> None:
    inner = Dataset()
    inner.PatientID = "DEEP-1"
    for _ in range(DEEPEST):
        outer = Dataset()
        outer.RequestAttributesSequence = [inner]
        inner = outer
    assert texts(identifiers_of(inner)) == {("patient id", "DEEP-1")}
    outer = Dataset()
    outer.RequestAttributesSequence = [inner]
    assert identifiers_of(outer) == frozenset()


def test_a_broken_element_costs_only_itself() -> None:
    dataset = Dataset()
    dataset.PatientID = "OLD-1"
    dataset.add_new(0x00101002, "SQ", [])
    dataset._dict[0x00101002].VR = "DS"
    assert ("patient id", "OLD-1") in texts(identifiers_of(dataset))


def test_columns_that_name_somebody_are_read_whatever_they_are_called() -> None:
    table = "Pat-Nr;Nachname;Geburtsdatum;Region;BMD\n77;Wendelstein;06.08.1947;L1;1.0\n"
    found = texts(identifiers_of_table(table.encode("cp1252"), "Pat-Nr"))
    assert found == {
        ("patient id", "77"), ("name", "Wendelstein"), ("birth date", "06.08.1947")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "line", "expected"),
    [
        (("Patient ID", "Image", "Slice"), "77,4711023,-812.5",
         {"patient id 77", "file name 4711023"}),
        (("Patient ID", "Image", "Slice"), "77,spine_pa,1.2.3", {"patient id 77", "uid 1.2.3"}),
        (("Patient ID", "Accession No", "Slice"), "77,4711023,1203",
         {"patient id 77", "accession 4711023", "file name 4711023"}),
        (("Patient ID", "Image ID", "Slice"), "77,SPINE_PA,1203", {"patient id 77"}),
        (("Image", "Image", "Slice"), "4711023,x,1203", {"patient id 4711023"}),
        (("Patient ID", "Image UID", "File name"), "77,1.2.3,a/b.dcm",
         {"patient id 77", "uid 1.2.3", "file name a", "file name b"}),
    ],
)  # fmt: skip
def test_what_a_table_of_marks_names_images_by_names_the_patient_too(
    columns: tuple[str, str, str], line: str, expected: set[str]
) -> None:
    """Files are often called by an accession or patient number; only a z is none."""
    headings = [columns[0], columns[1] if columns[1] != columns[0] else "Other", columns[2]]
    table = f"{','.join(headings)}\n{line}\n"
    found = texts(identifiers_of_table(table.encode(), *columns))
    assert {f"{kind} {text}" for kind, text in found} == expected


def test_the_parts_of_a_path_are_kept_apart() -> None:
    assert texts(identifiers_of_name("../A B/c.tar.gz")) == {
        ("file name", "A B"), ("file name", "c.tar")
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [b"1.2.3", b"1.2.3\x00", b"1.2.3\x00 \x00", b"1.2.3 \x00", b"1.2.3\\1.4.5 \x00"],
)
def test_a_uid_is_remembered_as_pydicom_gives_it(value: bytes) -> None:
    """UIDs are taken from the file's bytes; padding that scanners add is no part of them."""
    dataset = Dataset()
    tag = Tag("SOPInstanceUID")
    dataset._dict[tag] = RawDataElement(tag, "UI", len(value), value, 0, False, True)
    found = texts(identifiers_of(dataset))
    converted = dataset.SOPInstanceUID
    several = [converted] if isinstance(converted, str) else converted
    assert found == {("uid", str(one).strip()) for one in several}
