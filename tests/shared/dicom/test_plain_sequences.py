"""Sequences that are not made data sets of give the very identifiers that data sets would."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage

from shared.dicom.attributes import quietly
from shared.dicom.parsing import parse
from shared.dicom.phi import identifiers
from shared.dicom.phi.identifiers import SeenIdentifier, identifiers_of
from shared.dicom.phi.plain_sequences import plain_sequence
from shared.dicom.verdicts import SetAsideError
from shared.phantom.writers import write_study
from tests.shared.rendered_samples import sample_study
from tests.suite.real_images import REAL_IMAGES, needs_real_images

WALK = "plain_sequence"
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def _both_ways(data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Hold what is found with and without data sets against each other; return how much."""
    with quietly():
        try:
            quick = identifiers_of(parse(data, pixels=False))
        except SetAsideError:
            return 0
        with monkeypatch.context() as patched:
            patched.setattr(identifiers, WALK, lambda *_, **__: None)
            whole = identifiers_of(parse(data, pixels=False))
    assert quick == whole
    return len(whole)


def test_every_file_of_pydicom_and_of_phantoms_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(sample_study(1), tmp_path)
    files = [*map(Path, get_testdata_files("**/*")), *sorted(tmp_path.rglob("*.dcm"))]
    found = [_both_ways(path.read_bytes(), monkeypatch) for path in files if path.is_file()]
    assert sum(count > 0 for count in found) > 100


@needs_real_images
def test_every_kind_of_real_file_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(REAL_IMAGES.rglob("*.dcm"))
    assert sum(_both_ways(path.read_bytes(), monkeypatch) for path in files) > len(files)


def _written(reference: Dataset, syntax: str) -> bytes:
    """A mask whose one frame refers to an image by a sequence in a sequence."""
    source, frame, dataset = Dataset(), Dataset(), Dataset()
    source.SourceImageSequence = [reference]
    frame.DerivationImageSequence = [source]
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, "1.2.3"
    dataset.PerFrameFunctionalGroupsSequence = [frame, frame]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_name_in_a_nested_sequence_is_found_and_references_need_no_data_set(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain: list[bool] = []
    walk = getattr(identifiers, WALK)

    def watched(*args: object, **kwargs: object) -> object:
        found: object = walk(*args, **kwargs)
        plain.append(found is not None)
        return found

    monkeypatch.setattr(identifiers, WALK, watched)
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "2.25.77"
    data = _written(reference, syntax)
    assert SeenIdentifier("uid", "2.25.77") in identifiers_of(parse(data, pixels=False))
    assert plain == [True]
    reference.PatientName = "Muster^Anna"
    data = _written(reference, syntax)
    found = identifiers_of(parse(data, pixels=False))
    assert {SeenIdentifier("uid", "2.25.77"), SeenIdentifier("name", "Muster^Anna")} <= found
    assert False in plain


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_damaged_sequences_give_the_same(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "2.25.77"
    reference.PatientComments = "called Anna"
    data = _written(reference, syntax)
    start = data.index(b"\x00\x52\x30\x92")  # (5200,9230), the frames
    for place in range(start, len(data), 3):
        for value in (0, 7, 255):
            changed = bytearray(data)
            changed[place] = value
            _both_ways(bytes(changed), monkeypatch)


def _of_items(*elements: tuple[int, int, bytes, bytes]) -> bytes:
    """A mask with a sequence of one item of these elements (group, element, VR, value)."""
    item = b"".join(
        struct.pack("<HH2sH", group, element, vr, len(value)) + value
        for group, element, vr, value in elements
    )
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    data = _written(Dataset(), ExplicitVRLittleEndian)
    start = data.index(b"\x00\x52\x30\x92")
    return data[:start] + struct.pack("<HH2sHL", 0x5200, 0x9230, b"SQ", 0, len(item)) + item


def test_of_a_tag_that_comes_twice_the_last_counts_and_takes_no_place_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = (0x0028, 0x0010, b"US", b"\x01\x00")
    name = (0x0040, 0xA123, b"PN", b"Muster^Anna ")
    uid = (0x0008, 0x1155, b"UI", b"2.25.77\x00")
    for elements in ([rows] * 19_990 + [name], [uid] * 200, [uid, rows, name], [name, uid, rows]):
        assert _both_ways(_of_items(*elements), monkeypatch)


def test_text_under_a_tag_that_holds_uids_is_read_as_it_was_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = (0x0002, 0x0003, b"LO", "Müller ".encode())
    assert _both_ways(_of_items((0x0008, 0x1155, b"UI", b"2.25.77\x00"), named), monkeypatch)


def test_what_one_walk_may_look_at_is_bounded() -> None:
    empty = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    for items, read in ((10, True), (11, False)):
        found = plain_sequence(items * empty, lambda *_: "", explicit=True, deepest=8, most=10)
        assert (found is not None) is read


def test_a_sequence_of_unknown_vr_that_is_long_is_read() -> None:
    """As a sender writes it that does not know the tag: bytes in implicit VR (PS3.5, 6.2.2)."""
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "2.25.77"
    reference.PatientName = "Muster^Anna"
    reference.ContentDescription = "x" * 60
    data = _written(reference, ImplicitVRLittleEndian)
    start = data.index(b"\x00\x52\x30\x92")
    value = data[start + 8 :] * 800  # items of which each has the name
    assert len(value) > 0xFFFF
    explicit = _written(reference, ExplicitVRLittleEndian)
    head = explicit[: explicit.index(b"\x00\x52\x30\x92")]
    written = head + struct.pack("<HH2sHL", 0x5200, 0x9230, b"UN", 0, len(value)) + value
    with quietly():
        found = identifiers_of(parse(written, pixels=False))
    assert {SeenIdentifier("name", "Muster^Anna"), SeenIdentifier("uid", "2.25.77")} <= found


def test_references_do_not_take_the_place_of_a_studys_own_uid() -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, "1.2.3"
    dataset.StudyInstanceUID = "2.25.99"
    dataset.ReferencedImageSequence = []
    for number in range(300):
        reference = Dataset()
        reference.ReferencedSOPInstanceUID = f"2.25.{1000 + number}"
        dataset.ReferencedImageSequence.append(reference)
    assert SeenIdentifier("uid", "2.25.99") in identifiers_of(dataset)
