"""The same object is the same content, however it is written; another one is not."""

from __future__ import annotations

import hashlib
import time
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread, examples
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from shared.dicom.content import content_digest
from shared.phantom.writers import write_study
from tests.shared.rendered_samples import sample_study


@pytest.fixture(scope="module", params=["lunar", "hologic"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp(request.param)
    write_study(sample_study(1, scanner=request.param), folder)
    return sorted(folder.rglob("*.dcm"))


def written(dataset: Dataset, *, implicit: bool) -> bytes:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.ImplementationVersionName = "ANOTHER"
    dataset.private_creators(0x0019)
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def open_lengths(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                open_lengths(item)


def test_vr_file_meta_and_lengths_of_sequences_do_not_count(files: list[Path]) -> None:
    for path in files:
        expected = content_digest(path.read_bytes())
        for implicit in (False, True):
            assert content_digest(written(dcmread(path), implicit=implicit)) == expected
        dataset = dcmread(path)
        open_lengths(dataset)
        assert content_digest(written(dataset, implicit=False)) == expected


def test_any_changed_value_counts(files: list[Path]) -> None:
    for path in files:
        data = path.read_bytes()
        digests = {content_digest(data)}
        for place in (len(data) - 1, len(data) // 2):
            changed = bytearray(data)
            changed[place] ^= 1
            digests.add(content_digest(bytes(changed)))
        dataset = dcmread(path)
        dataset.PatientComments = "one more"
        digests.add(content_digest(written(dataset, implicit=False)))
        assert len(digests) == 4


def test_items_count_where_they_are() -> None:
    def nested(*numbers: tuple[int, ...]) -> bytes:
        dataset = examples.ct.copy()
        dataset.file_meta = examples.ct.file_meta
        dataset.ReferencedStudySequence = Sequence()
        for inner in numbers:
            item = Dataset()
            item.ReferencedSeriesSequence = Sequence()
            for number in inner:
                leaf = Dataset()
                leaf.SeriesInstanceUID = f"1.2.{number}"
                item.ReferencedSeriesSequence.append(leaf)
            dataset.ReferencedStudySequence.append(item)
        return written(dataset, implicit=False)

    shapes = [nested((1, 2)), nested((1,), (2,)), nested((1, 2), ()), nested((2, 1))]
    assert len({content_digest(shape) for shape in shapes}) == 4


def test_what_is_no_dicom_or_is_cut_off_is_known_by_its_bytes(files: list[Path]) -> None:
    data = files[0].read_bytes()
    for odd in (b"", b"DICM", b"Patient ID;BMD\n", data[:2000], data[:140]):
        assert content_digest(odd) == hashlib.sha256(odd).hexdigest()


def test_every_file_that_pydicom_ships_has_a_digest_soon() -> None:
    begun = time.process_time()
    sizes = 0
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").iterdir()):
        data = path.read_bytes() if path.is_file() else b""
        sizes += len(data)
        digest = content_digest(data)
        assert len(digest) == 64
        if path.name in {"ExplVR_BigEnd.dcm", "image_dfl.dcm"}:
            assert digest == hashlib.sha256(data).hexdigest()
    assert sizes > 1_000_000
    assert time.process_time() - begun < 30
