"""One digital patient of each maker, read once with the headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.dicom.read_study import ReadStudy
from shared.phantom.make import make_hospital
from tests.shared.inference.outputs.cases import read_one


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exports by scanner; nobody changes them."""
    found = {}
    for scanner in ("lunar", "hologic"):
        found[scanner] = tmp_path_factory.mktemp(scanner) / "export"
        make_hospital(found[scanner], scanner, 1, 5)
    return found


@pytest.fixture(scope="session")
def hospital(hospitals: dict[str, Path]) -> Path:
    return hospitals["lunar"]


@pytest.fixture(scope="session")
def study(hospital: Path) -> ReadStudy:
    return read_one(hospital)
