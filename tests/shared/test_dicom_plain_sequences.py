"""Sequences that are not made data sets of give the very identifiers that data sets would."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage

from shared.dicom import identifiers
from shared.dicom.attributes import quietly
from shared.dicom.identifiers import SeenIdentifier, identifiers_of
from shared.dicom.parsing import parse
from shared.dicom.verdicts import SetAsideError
from shared.phantom.writers import write_study
from tests.shared.rendered_samples import sample_study

REAL = os.environ.get("OSTEOFED_REAL_DATA")
needs_real_data = pytest.mark.skipif(
    REAL is None, reason="set OSTEOFED_REAL_DATA to the folder of real images"
)
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


@needs_real_data
def test_every_kind_of_real_file_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(Path(str(REAL)).rglob("*.dcm"))
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
