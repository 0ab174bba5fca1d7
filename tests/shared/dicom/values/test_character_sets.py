"""Texts are read in the set that they are in: as the file says, or UTF-8 where that cannot be."""

from __future__ import annotations

import unicodedata
from datetime import date
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.charset import encode_string
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from shared.dicom.attributes import quietly, text_of
from shared.dicom.parsing import parse
from shared.dicom.phi.identifiers import identifiers_of
from shared.dicom.read import read_study_folder
from tests.shared.ct_samples import save, write_radiograph
from tests.shared.dicom.values.test_numbers import write_raw

#: The set as it stands in the file, Python's codecs of it, and a patient's name or id.
SETS = [
    ("ISO_IR 192", ["utf-8"], "Müller 山田 김"), ("ISO_IR 100", ["latin-1"], "Müller"),
    ("ISO_IR 101", ["iso8859_2"], "Wałęsa"), ("ISO_IR 109", ["iso8859_3"], "Ĉapek"),
    ("ISO_IR 110", ["iso8859_4"], "Bērziņš"), ("ISO_IR 144", ["iso8859_5"], "Люкceмбypг"),
    ("ISO_IR 127", ["iso8859_6"], "قباني"), ("ISO_IR 126", ["iso8859_7"], "Διονυσιος"),
    ("ISO_IR 138", ["iso8859_8"], "שרון"), ("ISO_IR 148", ["iso8859_9"], "Çavuşoğlu"),
    ("ISO_IR 166", ["tis_620"], "นามสกุล"), ("ISO_IR 13", ["shift_jis"], "ﾔﾏﾀﾞ"),
    ("GB18030", ["gb18030"], "王小东"), ("GBK", ["gbk"], "王小東"),
    ("\\ISO 2022 IR 87", ["iso8859", "iso2022_jp"], "山田太郎"),
    ("ISO 2022 IR 6\\ISO 2022 IR 149", ["iso8859", "euc_kr"], "김희중"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", ["shift_jis", "iso2022_jp"], "ﾔﾏﾀﾞ 山田"),
    ("ISO 2022 IR 6\\ISO 2022 IR 58", ["iso8859", "iso_ir_58"], "张三"),
]  # fmt: skip


def written(folder: Path, said: str | None, value: bytes, keyword: str = "PatientID") -> bytes:
    """Bytes of a radiograph whose text is in these bytes, under a set that it names or not."""
    dataset = dcmread(write_radiograph(folder / "a.dcm"))
    if said is None:
        if "SpecificCharacterSet" in dataset:
            del dataset.SpecificCharacterSet
    else:
        write_raw(dataset, "SpecificCharacterSet", "CS", said.encode())
    write_raw(dataset, keyword, "PN" if keyword == "PatientName" else "LO", value)
    save_as_it_is(dataset, folder / "a.dcm")
    return (folder / "a.dcm").read_bytes()


def save_as_it_is(dataset: Dataset, path: Path) -> None:
    """Save without writing a text anew in the set that the file names."""
    with quietly():
        for one in (dataset, *(dataset.get("ReferencedStudySequence") or ())):
            one.set_original_encoding(False, True, one._character_set)
        save(dataset, path)


def text_in(data: bytes, keyword: str = "PatientID") -> str:
    with quietly():
        return text_of(parse(data, pixels=False), keyword)


@pytest.mark.parametrize("keyword", ["PatientID", "ProtocolName", "PatientName"])
@pytest.mark.parametrize(("said", "codecs", "text"), SETS)
def test_texts_are_decoded_as_the_file_says(
    tmp_path: Path, said: str, codecs: list[str], text: str, keyword: str
) -> None:
    data = written(tmp_path, said, encode_string(text, codecs), keyword)
    assert text_in(data, keyword) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    "said", [None, "", "ISO_IR 6", "ISO_IR 100", "ISO_IR 999", "UTF-9", "ISO_IR 144"]
)
@pytest.mark.parametrize("text", ["Müller", "Позвоночник", "山田太郎", "김희중", "Διονυσιος"])
def test_utf8_is_read_where_the_set_is_missing_or_wrong(
    tmp_path: Path, said: str | None, text: str
) -> None:
    assert text_in(written(tmp_path, said, text.encode())) == text


@pytest.mark.parametrize(
    "said", ["ISO_IR 192", "GB18030", "ISO 2022 IR 149", "hex", "utf-16", "zlib"]
)
@pytest.mark.parametrize("value", [b"M\xfcller", b"\xff\xfe\x81", b"\x1b$B\x1b", b"\xd6\xff"])
def test_no_bytes_of_a_wrong_set_end_the_reading(tmp_path: Path, said: str, value: bytes) -> None:
    text_in(written(tmp_path, said, value))


def test_ids_that_are_not_in_their_set_stay_apart(tmp_path: Path) -> None:
    """A replacement character would make one patient of two."""
    found = {text_in(written(tmp_path, "ISO_IR 192", value)) for value in (b"\xdc1", b"\xd61")}
    assert len(found) == 2


def test_escapes_count_where_no_set_is_named(tmp_path: Path) -> None:
    value = encode_string("山田太郎", ["iso8859", "iso2022_jp"])
    assert text_in(written(tmp_path, None, value)) == "山田太郎"


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("ISO_IR 100", "Ü-17".encode("latin-1")), ("ISO_IR 192", "Ü-17".encode()),
        (None, "Ü-17".encode()), ("ISO_IR 192", unicodedata.normalize("NFD", "Ü-17").encode()),
        ("ISO_IR 148", "Ü-17".encode("iso8859_9")), ("ISO_IR 100", "Ü-17".encode()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("decomposed", [False, True])
def test_labels_join_whatever_set_the_id_was_written_in(
    tmp_path: Path, said: str | None, value: bytes, decomposed: bool
) -> None:
    written(tmp_path, said, value)
    with quietly():
        (study,) = read_study_folder(tmp_path).studies
    assert study.header.patient_id == "Ü-17"
    assert study.header.study_date is not None
    day = date.isoformat(study.header.study_date)
    who = unicodedata.normalize("NFD" if decomposed else "NFC", "Ü-17")
    (tmp_path / "t.csv").write_text(
        f"Patient ID,Scan Date,Vertebra,Genant Grade\n{who},{day},L1,2\n"
    )
    (study,) = read_study_folder(tmp_path).studies
    assert study.labels.genant == {"L1": 2}


@pytest.mark.parametrize("said", [None, "ISO_IR 192", "ISO_IR 100"])
def test_names_are_found_as_people_write_them(tmp_path: Path, said: str | None) -> None:
    """Also in sequences, whose items inherit a set that is missing or wrong."""
    data = written(tmp_path, said, "Grünwald^Željka".encode(), "PatientName")
    (tmp_path / "a.dcm").write_bytes(data)
    dataset = dcmread(tmp_path / "a.dcm")
    write_raw(dataset, "PatientName", "PN", "Grünwald^Željka".encode())
    other = Dataset()
    write_raw(other, "ReferringPhysicianName", "PN", "Jürgensohn^Özlem".encode())
    dataset.ReferencedStudySequence = Sequence([other])
    save_as_it_is(dataset, tmp_path / "a.dcm")
    with quietly():
        found = identifiers_of(parse((tmp_path / "a.dcm").read_bytes(), pixels=False))
    texts = {one.text for one in found}
    assert {"Grünwald^Željka", "Jürgensohn^Özlem"} <= texts


def test_a_name_of_another_set_is_found_in_private_bytes(tmp_path: Path) -> None:
    dataset = dcmread(write_radiograph(tmp_path / "a.dcm"))
    write_raw(dataset, "SpecificCharacterSet", "CS", b"GB18030")
    block = dataset.private_block(0x0019, "MAKER", create=True)
    block.add_new(0x10, "UN", "王小东".encode("gb18030"))
    save_as_it_is(dataset, tmp_path / "a.dcm")
    with quietly():
        found = identifiers_of(parse((tmp_path / "a.dcm").read_bytes(), pixels=False))
    assert "王小东" in {one.text for one in found}
