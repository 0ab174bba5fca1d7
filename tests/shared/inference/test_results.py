"""Where a prediction may be written, and what a refusal says."""

import re
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.results import PREDICTION, check_out


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
