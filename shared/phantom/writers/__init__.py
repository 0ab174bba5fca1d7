"""Writers of DICOM studies, one file per vendor: what the scanner's export really looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.errors import PhantomError
from shared.phantom.rendered import RenderedStudy
from shared.records import Vendor

from . import hologic, lunar
from .common import WrittenStudy

#: Model name by scanner profile (`shared.phantom.imaging.scanner.SCANNERS`).
MODELS: Final[dict[str, str]] = {
    "lunar": "Lunar iDXA",
    "lunar_prodigy": "Lunar Prodigy Advance",
    "hologic": "Horizon W",
}


def write_study(study: RenderedStudy, out: Path, scanner: str | None = None) -> WrittenStudy:
    """Write one digital patient's study as its vendor would.

    Parameters
    ----------
    study : RenderedStudy
        Images, labels and covariates.
    out : Path
        The DICOM folder; the study gets ``<patient id>/<study date>/`` in it.
    scanner : str or None
        Name of the scanner profile, for the model name; None = the vendor's own name.

    Returns
    -------
    WrittenStudy
        Identity and the labels that belong into the hospital's tables.

    Raises
    ------
    PhantomError
        If the study is of a scanner that no hospital has.
    """
    model = MODELS.get(scanner or study.vendor.value, "")
    if study.vendor is Vendor.LUNAR:
        return lunar.write(study, out, model)
    if study.vendor is Vendor.HOLOGIC:
        return hologic.write(study, out, model)
    raise PhantomError(
        f"scanner of vendor {study.vendor.value!r}: no hospital has one, so no DICOM is written "
        f"(scanners that can be written: {', '.join(MODELS)})"
    )


__all__ = ["MODELS", "WrittenStudy", "write_study"]
