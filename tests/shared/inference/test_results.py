"""Where a prediction may be written, and what a refusal says."""

import re
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.outputs import Kind
from shared.inference.results import FORMATS, PREDICTION, check_out, formats_of, kinds_of


def test_what_a_prediction_wrote_may_be_replaced(tmp_path: Path) -> None:
    check_out(tmp_path / "new")
    check_out(tmp_path)
    (tmp_path / PREDICTION).touch()
    (tmp_path / "overlay_spine_pa.png").touch()
    (tmp_path / "study-001").mkdir()
    (tmp_path / "study-001" / PREDICTION).touch()
    check_out(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "DOE_JANE.dcm",
            "1 thing that no prediction wrote, the first by name a file ending in .dcm",
        ),
        ("Doe.Jane", "a file of another kind"),
        ("doe/", "a folder"),
    ],
)
def test_a_refused_folder_says_what_is_in_it_and_what_to_do_but_no_name(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(ConfigError) as refused:
        check_out(tmp_path)
    sentence = str(refused.value)
    assert sentence.startswith(f"{tmp_path}: holds ")
    assert said in sentence
    assert "(--out must be a new folder, an empty one, or an earlier prediction" in sentence
    assert sentence.endswith("name another folder, or move away what is there")
    assert not re.search("doe|jane", sentence.removeprefix(str(tmp_path)), re.IGNORECASE)


def test_of_several_things_the_first_by_name_is_told(tmp_path: Path) -> None:
    for name in ("b.csv", "a.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"holds 2 things .* a file ending in \.txt"):
        check_out(tmp_path)


def test_formats_are_words_divided_by_commas(tmp_path: Path) -> None:
    assert formats_of("html, JSON,seg,seg") == ("html", "json", "seg")
    assert kinds_of(formats_of("html,json")) == frozenset()
    assert kinds_of(formats_of(",".join(FORMATS))) == set(Kind)
    for wrong in ("html,dcm", ""):
        with pytest.raises(ConfigError, match=r"^--format: .* \(must be of html, json, seg"):
            formats_of(wrong)


def test_what_went_back_of_an_earlier_prediction_may_be_replaced(tmp_path: Path) -> None:
    for name in ("seg_spine_pa.dcm", "sr.dcm", "sc_01.dcm", "report_pdf.dcm", "report.pdf",
                 "fhir.json", "oru_r01.hl7"):  # fmt: skip
        (tmp_path / name).touch()
    check_out(tmp_path)
    (tmp_path / "scan.dcm").touch()
    with pytest.raises(ConfigError, match="1 thing"):
        check_out(tmp_path)
