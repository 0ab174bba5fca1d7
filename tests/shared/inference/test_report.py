"""The report is one whole, self-contained, safe HTML file."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inference.pictures.views import marks, outline, overlay_png, view_svg
from shared.inference.report import LONGEST_BOLD, headline
from shared.inference.schema import Prediction
from shared.phrases import shown_date, shown_name
from shared.records import Covariates, ImageRecord, StudyLabels, Vendor, View
from shared.regions import REGION_CODES, VERTEBRAE
from tests.shared.inference_cases import (
    MODERATE,
    OSTEOPOROTIC,
    html,
    image,
    make_subject,
    predict,
    region_map,
)

VOID = {"meta", "br", "img", "link", "input", "hr", "image", "path", "rect", "line", "circle",
        "polyline", "polygon"}  # fmt: skip
OWN = StudyLabels(
    bmd={"L1": 0.7, "L2": 0.8, "L3": 0.85, "L4": 1.3, "L1-L4": 0.9, "trochanter": 0.6},
    genant={"L1": 2},
    quality={"L2": 5},
)


class Page(HTMLParser):
    """Collects what a browser would fetch or run, and whether tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.events: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.references.append(value or "")
            if name.startswith("on"):
                self.events.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


CASES = {
    "whole": html(make_subject(labels=OWN), OSTEOPOROTIC, {"L1": MODERATE}),
    "nothing but a spine": html(make_subject(views=(View.SPINE_PA,)), None),
    "young": html(make_subject(covariates=Covariates("M", 30.0))),
    "nobody knows": html(make_subject(covariates=Covariates(), vendor=Vendor.HOLOGIC)),
    "no image": html(make_subject(views=()), None),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_fetched_and_nothing_runs(case: str) -> None:
    page = Page(CASES[case])
    assert page.open == []
    assert "script" not in page.tags
    assert page.events == []
    assert all(reference.startswith("data:image/png") for reference in page.references)
    assert not re.search(r"https?://|@import|url\(", CASES[case])
    assert "default-src 'none'" in CASES[case]


@pytest.mark.parametrize("case", CASES)
def test_every_report_says_that_it_is_for_research_only(case: str) -> None:
    text = " ".join(Page(CASES[case]).words)
    assert "Research use only; not a medical device" in text
    for heading in ("Impression", "Technique", "Findings", "Limits", "Model versions"):
        assert heading in text


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>^Eve",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}",
        "</title><script>",
        "O'Neil & Sons",
    ],
)
def test_a_hostile_name_stays_text(name: str) -> None:
    text = html(make_subject(name=name))
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.events == []
    assert page.open == []
    assert "".join(shown_name(name).split()) in "".join("".join(page.words).split())


def test_the_name_stands_in_the_report_and_not_in_the_json() -> None:
    subject = make_subject(name="Zebedee^Quentin")
    assert "Zebedee, Quentin" in html(subject)
    assert "Zebedee" not in predict(subject).model_dump_json()


def test_every_view_is_shown_or_its_absence_is() -> None:
    whole, part = Page(CASES["whole"]), Page(CASES["nothing but a spine"])
    assert len(whole.references) == 6  # three with outlines, three as scanned
    assert len(part.references) == 2
    assert " ".join(part.words).count("not in this study") == 2


def test_the_hospitals_values_stand_beside_the_estimates() -> None:
    text = " ".join(" ".join(Page(CASES["whole"]).words).split())
    assert "0.900" in text
    assert "1.300" in text
    assert "left out" in text.lower()
    assert "Hospital's grade" in text


def test_the_table_of_measured_values_leaves_out_what_the_hospital_leaves_out() -> None:
    """A fracture that only the model suspects takes nothing out of the hospital's own spine."""
    bmd = {"L1": 0.80, "L2": 0.85, "L3": 0.90, "L4": 0.90, "L1-L4": 0.86}
    graded = StudyLabels(bmd=bmd, genant=dict.fromkeys(("L1", "L2", "L3", "L4"), 0))
    page = html(make_subject(labels=graded, vendor=Vendor.HOLOGIC), None, {"L1": MODERATE})
    assert "Left out" not in page
    assert "not used as a whole" not in page
    broken = StudyLabels(bmd=bmd, genant={"L1": 2})
    page = html(make_subject(labels=broken, vendor=Vendor.HOLOGIC), None)
    assert "fractured according to the hospital" in page
    assert "not used as a whole" in page


def test_what_was_measured_stands_before_the_estimate() -> None:
    text = " ".join(" ".join(Page(CASES["whole"]).words).split())
    assert text.index("From the hospital's BMD") < text.index("Estimated by the model")
    alone = " ".join(Page(CASES["young"]).words)
    assert "From the hospital's BMD" not in alone
    assert "measured by the hospital" not in alone
    assert 'class="estimate"' in CASES["young"]
    assert 'class="own"' not in CASES["young"]
    assert 'class="own"' in CASES["whole"]


LONG = {
    "a diagnosis": StudyLabels(classes={"status after several fractures " * 9: 1.0}),
    "fractures read": StudyLabels(genant=dict.fromkeys(VERTEBRAE, 2), bmd={"total_hip": 0.6}),
    "differing": StudyLabels(bmd={"total_hip": 1.1}, classes={"osteoporosis": 1.0}),
}


@pytest.mark.parametrize("page", [*CASES.values(), *(html(make_subject(labels=one), OSTEOPOROTIC,
                         dict.fromkeys(VERTEBRAE, MODERATE)) for one in LONG.values())],
                         ids=[*CASES, *LONG])  # fmt: skip
def test_the_bold_headline_is_short(page: str) -> None:
    [bold] = re.findall(r"<section class=\"impression.*?<p><strong>(.*?)</strong>", page, re.DOTALL)
    assert 20 <= len(unescape(bold)) <= LONGEST_BOLD


@pytest.mark.parametrize("bmd", [0.6, 0.8, 1.1])
def test_the_bold_headline_has_the_score_that_was_measured(bmd: float) -> None:
    prediction = predict(make_subject(labels=StudyLabels(bmd={"total_hip": bmd})))
    bold, _ = headline(prediction.narrative.impression[0])
    assert re.search(r"lowest T-score [−+]\d\.\d", bold)


@pytest.mark.parametrize(
    ("text", "bold"),
    [
        ("Short.", "Short."),
        ("A first sentence. " * 12, "A first sentence. " * 7 + "A first sentence."),
        (f"Not assessed: density, because {'x ' * 99}", "Not assessed: density,"),
        (f"Lowest T-score −2.8 (its error, {'x ' * 99}).", "Lowest T-score −2.8"),
        (f"Read: {'T4 mild, ' * 20}", "Read: " + ("T4 mild, " * 17)[:-1]),
        ("x" * 300, "x" * LONGEST_BOLD),
        ("(" + "x " * 100, ("(" + "x " * 100)[:LONGEST_BOLD]),
    ],
)
def test_a_headline_is_divided_where_it_may_be(text: str, bold: str) -> None:
    assert headline(text) == (bold, text.removeprefix(bold))


@given(st.text(st.sampled_from("aB.,;:() "), max_size=400))
def test_nothing_of_a_headline_is_lost(text: str) -> None:
    bold, rest = headline(text)
    assert bold + rest == text
    assert len(bold) <= LONGEST_BOLD


def test_labels_of_regions_are_drawn() -> None:
    text = CASES["whole"]
    for label in ("L1", "L4", "Neck", "Troch.", "Inter.", "T12"):
        assert f">{label}</text>" in text
    assert ">L1 moderate (2)</text>" in text
    assert "in brackets the hospital's grade" in text


def test_the_json_round_trips_through_its_schema() -> None:
    prediction = predict(make_subject(labels=OWN), OSTEOPOROTIC, {"L1": MODERATE})
    text = prediction.model_dump_json(by_alias=True)
    assert Prediction.model_validate_json(text) == prediction
    assert json.loads(text)["schema"] == 1
    changed = json.loads(text) | {"surprise": 1}
    with pytest.raises(ValueError, match="surprise"):
        Prediction.model_validate(changed)


def test_an_outline_goes_around_its_mask() -> None:
    mask = region_map(View.SPINE_PA) == REGION_CODES["L1"]  # rows 20-51, columns 40-79
    (line,) = outline(mask)
    assert (line[:, 0].min(), line[:, 0].max()) == (39.5, 79.5)
    assert (line[:, 1].min(), line[:, 1].max()) == (19.5, 51.5)


def test_an_overlay_is_a_png_of_a_readable_size() -> None:
    from io import BytesIO

    from PIL import Image

    view = View.SPINE_LATERAL
    png = overlay_png(image(view), marks(view, region_map(view), []))
    with Image.open(BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.height == 900
        red, green, _ = (np.asarray(channel) for channel in picture.split())
        assert (red != green).any()  # not all grey


def test_a_scale_bar_is_as_sure_of_its_length_as_the_pixels_are() -> None:
    view = View.SPINE_PA
    words = {"calibrated": ">50 mm<", "detector": ">about 50 mm<", "derived": ">about 50 mm<"}
    for provenance, text in words.items():
        drawn = view_svg(view, image(view, provenance), [], "")
        assert text in drawn
        assert " h50 " in drawn  # in a picture whose unit is the millimetre
    assert " mm<" not in view_svg(view, image(view, "none"), [], "")


def test_the_bar_of_an_overlay_is_as_long_as_it_says() -> None:
    """A column of bright pixels per millimetre of the bar, in a black picture of odd pixels."""
    from io import BytesIO

    from PIL import Image

    black = ImageRecord(np.zeros((300, 160), np.float32), (0.5, 1.0), "calibrated")
    with Image.open(BytesIO(overlay_png(black, []))) as picture:
        grey = np.asarray(picture.convert("L"))
    lengths = (grey > 128).sum(axis=1)
    assert grey.shape == (900, 960)
    assert abs(int(lengths.max()) - 50 * 6) <= 3  # six pixels a millimetre


def test_names_and_dates_read_as_people_write_them() -> None:
    assert shown_name("Doe^Jane^M^^") == "Doe, Jane M"
    assert shown_name("Doe") == "Doe"
    assert shown_name("") == ""
    assert shown_date("20260131") == "2026-01-31"
    assert shown_date("2026-01-31") == "2026-01-31"
