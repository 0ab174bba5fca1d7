"""How files are written changes nothing of what is read; what a decoder does costs one image."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from shared.dicom.attributes import quietly
from shared.dicom.content import content_digest
from shared.dicom.elements import MOST_ELEMENTS, has_too_many_elements
from shared.dicom.parsing import parse
from shared.dicom.pixels import decoding
from shared.dicom.pixels.grey_values import stored_values
from shared.dicom.read import read_study_folder
from shared.dicom.verdicts import FileVerdict, SetAsideError
from tests.shared.ct_samples import field, write_ct, write_radiograph
from tests.shared.encoded import BY_GDCM, BY_PYDICOM, compress, rewrite, stream_of
from tests.suite.real_images import REAL_IMAGES, needs_real_images

GE = "1.2.840.113619.5.2"
LOSSLESS = "1.2.840.10008.1.2.4.70"
LOSSY_12_BITS = Path(pydicom.__file__).parent / "data" / "test_files" / "JPEG-lossy.dcm"


def verdicts(folder: Path) -> list[FileVerdict]:
    return read_study_folder(folder).files


def hu(folder: Path) -> np.ndarray:
    (study,) = read_study_folder(folder).studies
    (volume,) = study.volumes.values()
    return volume.record.hu


def only_image(folder: Path) -> np.ndarray:
    result = read_study_folder(folder)
    assert [one.reason for one in result.files] == ["ok"]
    (image,) = result.studies[0].images.values()
    return image.pixels


# --- compression --------------------------------------------------------------------------


def with_overlay(dataset: Dataset, high: int) -> None:
    """Twelve bits of a value that end at bit `high`, and bits of an overlay beside them."""
    stored = np.frombuffer(dataset.PixelData, "<u2") << (high - 11)
    spare = 0x8000 if high == 11 else 0x0001
    drawn = np.where(np.arange(stored.size) % 3 == 0, spare, 0)
    dataset.PixelData = (stored | drawn).astype("<u2").tobytes()
    dataset.BitsStored, dataset.HighBit = 12, high


@pytest.mark.parametrize("high", [11, 15])
def test_bits_beside_the_value_are_no_hounsfield_units(tmp_path: Path, high: int) -> None:
    want = np.clip(field()[:3], -1024, 3071)
    write_ct(tmp_path / "plain", want)
    expected = hu(tmp_path / "plain")
    for syntax in (None, LOSSLESS, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"):
        folder = tmp_path / f"{syntax}"
        write_ct(folder, want, change=lambda dataset, _: with_overlay(dataset, high))
        for path in folder.iterdir() if syntax else ():
            rewrite(path, str(syntax))
        assert np.array_equal(hu(folder), expected), syntax


@pytest.mark.parametrize("syntax", [*BY_GDCM, *BY_PYDICOM])
@pytest.mark.parametrize(("kind", "used"), [("u1", 8), ("<u2", 16), ("<i2", 16), ("<i2", 12)])
def test_compressed_values_are_those_of_the_plain_file(syntax: str, kind: str, used: int) -> None:
    generator = np.random.default_rng(used)
    low = -(2 ** (used - 1)) if "i" in kind else 0
    stored = generator.integers(low, low + 2**used, (21, 30)).astype(kind)
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 21, 30, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = stored.itemsize * 8, used
    dataset.HighBit, dataset.PixelRepresentation = used - 1, int("i" in kind)
    dataset.PixelData = stored.tobytes()
    compress(dataset, syntax)
    found = stored_values(dataset)
    assert found.dtype.kind == np.dtype(kind).kind
    assert np.array_equal(found, stored)


def test_jpeg_of_twelve_bits_is_decoded() -> None:
    found = stored_values(parse(LOSSY_12_BITS.read_bytes(), pixels=True))
    assert (found[420, 140], found[230, 120]) == (244, 95)  # as pydicom's own tests have it


@pytest.mark.parametrize("syntax", list(BY_GDCM)[:4])
def test_a_stream_of_another_size_is_refused_before_a_decoder_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    dataset = dcmread(path)
    other = np.zeros((dataset.Rows + 1, dataset.Columns), "<u2")
    rewrite(path, syntax, stream_of(other, syntax))
    monkeypatch.setattr(decoding._CHILD, "ask", lambda *_: pytest.fail("decoded"))
    (verdict,) = verdicts(tmp_path)
    assert verdict.reason == "pixels_damaged"
    assert "compressed image of" in verdict.sentence


def damaged(stream: bytes) -> bytes:
    """Spoil the marker of the Huffman tables: GDCM ends the process over it."""
    return stream.replace(b"\xff\xc4", b"\xfb\xc4", 1)


def test_a_decoder_that_crashes_costs_one_image(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        path = write_radiograph(tmp_path / f"{number}.dcm", study=number)
        dataset = dcmread(path)
        pixels = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}")
        stream = stream_of(pixels.reshape(dataset.Rows, dataset.Columns), LOSSLESS)
        rewrite(path, LOSSLESS, damaged(stream) if number == 2 else stream)
    result = read_study_folder(tmp_path)
    assert [one.reason for one in result.files] == ["ok", "pixels_damaged", "ok"]
    assert "its decoder crashed" in result.files[1].sentence


def test_a_decoder_that_comes_to_no_end_costs_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(decoding, "CHILD", child)
    monkeypatch.setattr(decoding, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(decoding, "_CHILD", decoding._Child())
    with pytest.raises(SetAsideError, match="pixels_damaged") as raised:
        decoding.decode_apart(b"some", LOSSLESS, (3, 4), 8)
    assert raised.value.detail == "its decoder came to no end"


# --- GE's own, deflated ----------------------------------------------------------------------


def as_ge(path: Path) -> None:
    """Write a file as GE's private syntax has it."""
    dataset = dcmread(path)
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    buffer = BytesIO()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(buffer, implicit_vr=True, little_endian=True, enforce_file_format=True)
    plain = str(ImplicitVRLittleEndian).encode() + b"\0"
    assert len(plain) == len(GE)
    path.write_bytes(buffer.getvalue().replace(plain, GE.encode(), 1))


def test_ges_private_syntax_is_read_as_the_plain_file(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    expected = only_image(tmp_path)
    as_ge(path)
    assert np.array_equal(only_image(tmp_path), expected)


def test_ges_private_syntax_of_eight_bits_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    dataset = dcmread(path)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.save_as(path)
    as_ge(path)
    (verdict,) = verdicts(tmp_path)
    assert verdict.reason == "transfer_syntax"
    assert GE in verdict.sentence


def deflated(path: Path) -> bytes:
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_deflated_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    expected = only_image(tmp_path)
    path.write_bytes(deflated(path))
    assert np.array_equal(only_image(tmp_path), expected)


def test_what_inflates_without_end_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    data = deflated(path)
    meta = 132 + 12 + struct.unpack_from("<L", data, 140)[0]
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(40)) + squeeze.flush()
    path.write_bytes(data[:meta] + bomb)
    assert len(bomb) < 100_000
    assert verdicts(tmp_path)[0].reason == "file_too_large"
    path.write_bytes(data[:-40])
    assert verdicts(tmp_path)[0].reason == "damaged"


# --- without preamble ------------------------------------------------------------------------


def bare(path: Path, *, implicit: bool) -> bytes:
    plain = Dataset()
    plain.update(dcmread(path))
    buffer = BytesIO()
    plain.save_as(buffer, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


OLD: list[Callable[[Path], bytes]] = [
    lambda path: path.read_bytes()[132:],
    lambda path: bare(path, implicit=True),
    lambda path: bare(path, implicit=False),
]


@pytest.mark.parametrize("old", OLD)
def test_a_file_without_preamble_is_read_and_is_the_same_content(
    tmp_path: Path, old: Callable[[Path], bytes]
) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    expected, digest = only_image(tmp_path), content_digest(path.read_bytes())
    data = old(path)
    assert data[:2] in (b"\x02\x00", b"\x08\x00")
    path.write_bytes(data)
    assert np.array_equal(only_image(tmp_path), expected)
    assert content_digest(data) == digest


def test_compressed_pixels_without_a_named_syntax_are_not_guessed(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    rewrite(path, LOSSLESS)
    path.write_bytes(bare(path, implicit=False))
    assert verdicts(tmp_path)[0].reason == "transfer_syntax"


@pytest.mark.parametrize("head", [b"\x02\x00", b"\x02\x00\x00\x00", b"\x02\x00\x00\x00" * 40])
def test_what_only_begins_like_a_file_meta_group_is_no_dicom(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(head + b"\xff" * 50)
    assert verdicts(tmp_path)[0].verdict == "refused"


# --- elements without end ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "group"), [(ExplicitVRLittleEndian, 0x0018), (ImplicitVRLittleEndian, 0x0009)]
)
def test_two_million_empty_elements_are_refused_in_two_seconds(
    tmp_path: Path, syntax: str, group: int
) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    dataset = dcmread(path)
    del dataset.PixelData
    explicit = syntax == ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=not explicit, little_endian=True)
    heads = np.zeros(2_000_000, [("group", "<u2"), ("element", "<u2"), ("vr", "S2"), ("n", "<u2")])
    heads["group"] = group + 2 * (np.arange(heads.size) >> 16)
    heads["element"] = np.arange(heads.size) & 0xFFFF
    heads["vr"] = b"LO" if explicit else b""
    path.write_bytes(path.read_bytes() + heads.tobytes())
    begun = time.process_time()
    (verdict,) = verdicts(tmp_path)
    assert verdict.reason == "header_too_large"
    assert time.process_time() - begun < 3


def test_elements_in_sequences_count_and_zeros_and_pixels_do_not(tmp_path: Path) -> None:
    data = write_radiograph(tmp_path / "a.dcm").read_bytes()
    empty = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0) * 60
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(empty)) + empty
    sequence = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, len(item)) + item
    assert not has_too_many_elements(data, 80)
    assert not has_too_many_elements(data + bytes(8000), 80)
    place = data.index(struct.pack("<HH2s", 0x0008, 0x0020, b"DA"))
    assert has_too_many_elements(data[:place] + sequence + data[place:], 80)
    assert MOST_ELEMENTS == 500_000


# --- cases -------------------------------------------------------------------------------------


@needs_real_images
@pytest.mark.parametrize("name", ["ap_jpeg_lossless", "ge_private_ts", "no_preamble"])
def test_a_case_is_read(name: str) -> None:
    assert {one.reason for one in verdicts(REAL_IMAGES / "cases" / name)} == {"ok"}


@needs_real_images
def test_the_overlay_of_the_case_is_no_hounsfield_unit() -> None:
    folder = REAL_IMAGES / "cases" / "ct_j2k_embedded_overlay"
    files = [dcmread(path) for path in sorted(folder.iterdir())]
    with quietly():
        assert any((one.pixel_array & 0x8000).any() for one in files)
    assert hu(folder).max() <= 4095 + float(files[0].RescaleIntercept)
