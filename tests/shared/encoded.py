"""Images in the encodings that scanners and archives write, made by GDCM and pydicom."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_encoder
from pydicom.uid import ComputedRadiographyImageStorage, RLELossless

from tests.shared.ct_samples import add_pixels, patient, save, uid

#: GDCM writes these; pydicom the others.
BY_GDCM = {
    "1.2.840.10008.1.2.4.57": "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70": "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80": "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81": "1.2.840.10008.1.2.4.80",  # near-lossless by nothing
    "1.2.840.10008.1.2.4.90": "1.2.840.10008.1.2.4.90",
}
BY_PYDICOM = (str(RLELossless),)


def stream_of(pixels: np.ndarray, syntax: str) -> bytes:
    """One compressed frame of grey values, every bit of them."""
    bits = pixels.dtype.itemsize * 8
    if syntax in BY_PYDICOM:
        return bytes(
            get_encoder(syntax).encode(
                pixels, rows=pixels.shape[0], columns=pixels.shape[1], samples_per_pixel=1,
                bits_allocated=bits, bits_stored=bits, number_of_frames=1,
                pixel_representation=0, photometric_interpretation="MONOCHROME2",
            )
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return _by_gdcm(pixels, BY_GDCM[syntax], Path(folder) / "a.dcm")


def _by_gdcm(pixels: np.ndarray, syntax: str, path: Path) -> bytes:
    """One frame, through files: that is how this library is used."""
    import gdcm

    plain = patient()
    plain.SOPClassUID, plain.SOPInstanceUID = ComputedRadiographyImageStorage, uid(1)
    add_pixels(plain, pixels)
    save(plain, path)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return bytes(get_frame(dcmread(path).PixelData, 0, number_of_frames=1))


def compress(dataset: Dataset, syntax: str, stream: bytes | None = None) -> None:
    """Compress the pixels of a data set in place; the other attributes stay."""
    if stream is None:
        kind = f"<u{int(dataset.BitsAllocated) // 8}"
        pixels = np.frombuffer(dataset.PixelData, kind)[: dataset.Rows * dataset.Columns]
        stream = stream_of(pixels.reshape(dataset.Rows, dataset.Columns), syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"


def rewrite(path: Path, syntax: str, stream: bytes | None = None) -> None:
    """Compress a file in place."""
    dataset = dcmread(path)
    compress(dataset, syntax, stream)
    dataset.save_as(path, enforce_file_format=True)
