"""Pages of the report as PDF by fpdf2, in the HTML report's order and words.

The font is DejaVu Sans, which comes with matplotlib: no system package. It has Latin, Greek and
Cyrillic; of a name in other writing the alphabetic spelling is shown, as DICOM has it beside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import fpdf
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from shared.findings.attenuation import calibration_sentence
from shared.findings.facts import Score
from shared.findings.region_names import region_words
from shared.phrases import capital, shown_date, shown_name, signed

from .answer import StudyAnswer, model_words
from .secondary_capture import overlays

FONT: Final = "DejaVu"
GREY, INK, RULE = (95, 105, 112), (25, 32, 38), (205, 212, 217)
BOX: Final = (243, 246, 248)
#: Height of a line of text, mm, at the size of the running text in points.
LINE_MM, TEXT_PT, SMALL_PT, HEAD_PT = 4.4, 9.0, 7.5, 11.0
#: Highest picture, mm.
PICTURE_MM: Final = 78.0
NOT_GIVEN: Final = "not given"


class ReportPages(fpdf.FPDF):
    """Pages in A4 whose foot says whose they are and what they are not."""

    def __init__(self, foot: str) -> None:
        super().__init__(orientation="portrait", unit="mm", format="A4")
        self.foot = foot
        fonts = _fonts()
        self.add_font(FONT, "", str(fonts / "DejaVuSans.ttf"))
        self.add_font(FONT, "B", str(fonts / "DejaVuSans-Bold.ttf"))
        self.set_margins(15, 14, 15)
        self.set_auto_page_break(True, margin=18)
        self.alias_nb_pages()
        self.add_page()

    def footer(self) -> None:
        """Write the foot of a page."""
        self.set_y(-13)
        self.set_font(FONT, "", SMALL_PT)
        self.set_text_color(*GREY)
        self.cell(0, 4, self.foot, new_x=XPos.LMARGIN, new_y=YPos.TOP)
        self.cell(0, 4, f"page {self.page_no()} of {{nb}}", align="R")

    def heading(self, text: str) -> None:
        """Write a heading that is not left alone at the end of a page."""
        if self.will_page_break(18):
            self.add_page()
        self.ln(2.5)
        self.set_font(FONT, "B", HEAD_PT)
        self.set_text_color(*INK)
        self.multi_cell(0, 6, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.5)

    def text_lines(self, lines: Iterable[str], *, bold_first: bool = False) -> None:
        """Write paragraphs."""
        self.set_text_color(*INK)
        for number, line in enumerate(lines):
            self.set_font(FONT, "B" if bold_first and number == 0 else "", TEXT_PT)
            self.multi_cell(0, LINE_MM, line, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(0.8)

    def rows(self, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
        """Write a table, its first row the head."""
        self.set_font(FONT, "", SMALL_PT + 0.5)
        self.set_text_color(*INK)
        self.set_draw_color(*RULE)
        head = FontFace(emphasis="BOLD", color=GREY)
        with self.table(
            col_widths=tuple(widths), line_height=LINE_MM, borders_layout="HORIZONTAL_LINES",
            headings_style=head, text_align="LEFT",
        ) as table:  # fmt: skip
            for row in rows:
                table.row(row)


def report_pdf(answer: StudyAnswer) -> bytes:
    """Write the report of a study; the same answer gives the same bytes."""
    found = answer.prediction
    header = answer.study.header
    who = f"{shown_name(header.patient_name) or NOT_GIVEN}, {header.patient_id or NOT_GIVEN}"
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # which tells of every table
    pages = ReportPages(f"{who}. {found.notice}")
    pages.set_creation_date(answer.made_at)
    pages.set_title("Bone health report")
    pages.set_creator(found.software)
    _top(pages, answer)
    _impression(pages, found.narrative.impression)
    _pictures(pages, answer)
    _densities(pages, answer)
    _vertebrae(pages, answer)
    _attenuation(pages, answer)
    pages.heading("Findings")
    pages.text_lines(found.narrative.findings)
    if found.not_assessed:
        pages.heading("Not assessed")
        pages.text_lines(f"{capital(one.what)}: {one.why}" for one in found.not_assessed)
    pages.heading("How it was found")
    pages.text_lines([*found.narrative.technique, *map(model_words, found.models)])
    pages.heading("Limits")
    pages.text_lines(found.narrative.limits)
    return bytes(pages.output())


def _top(pages: ReportPages, answer: StudyAnswer) -> None:
    study = answer.prediction.study
    pages.set_font(FONT, "B", 16)
    pages.set_text_color(*INK)
    pages.cell(0, 8, "Bone health report", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pages.set_font(FONT, "", TEXT_PT)
    pages.set_text_color(*GREY)
    words = f"{answer.prediction.notice} Automatic, not checked by a reader."
    pages.cell(0, 5, words, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pages.ln(1.5)
    sex = {"F": "female", "M": "male"}.get(study.sex or "", NOT_GIVEN)
    age = NOT_GIVEN if study.age_years is None else f"{study.age_years:.0f} years"
    if study.age_years is not None and study.age_years >= 89:
        age = "89 or older"
    facts = [
        ("Patient", shown_name(answer.study.header.patient_name)),
        ("Patient ID", study.patient_id),
        ("Study date", shown_date(study.study_date)),
        ("Accession", study.accession),
        ("Sex", sex),
        ("Age", age),
        ("Height", "" if study.height_cm is None else f"{study.height_cm:.0f} cm"),
        ("Weight", "" if study.weight_kg is None else f"{study.weight_kg:.0f} kg"),
    ]
    width = pages.epw / 4
    for place, (name, value) in enumerate(facts):
        x, y = pages.l_margin + width * (place % 4), pages.get_y()
        pages.set_font(FONT, "", SMALL_PT)
        pages.set_text_color(*GREY)
        pages.set_xy(x, y)
        pages.cell(width, 3.6, name)
        pages.set_font(FONT, "B", TEXT_PT)
        pages.set_text_color(*INK)
        pages.set_xy(x, y + 3.6)
        pages.cell(width, LINE_MM, _short(pages, value or NOT_GIVEN, width - 2))
        pages.set_xy(pages.l_margin, y + (9.5 if place % 4 == 3 else 0))


def _short(pages: ReportPages, text: str, width: float) -> str:
    """Text that fits into a width, mm; what is cut off is shown to be."""
    if pages.get_string_width(text) <= width:
        return text
    while text and pages.get_string_width(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _impression(pages: ReportPages, sentences: Sequence[str]) -> None:
    """Write the impression in a box of its own."""
    pages.ln(1)
    pages.set_fill_color(*BOX)
    pages.set_text_color(*INK)
    pages.set_font(FONT, "B", HEAD_PT)
    pages.cell(0, 7, " Impression", fill=True, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    for number, sentence in enumerate(sentences):
        pages.set_font(FONT, "B" if number == 0 and len(sentence) <= 160 else "", TEXT_PT)
        pages.multi_cell(
            0, LINE_MM + 0.4, sentence, fill=True, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT,
            padding=(0.4, 2),
        )  # fmt: skip


def _pictures(pages: ReportPages, answer: StudyAnswer) -> None:
    """Set the overlays side by side, equally high."""
    from PIL import Image

    shown = []
    for _, words, _, png in overlays(answer):
        with Image.open(BytesIO(png)) as opened:
            shown.append((words, opened.convert("RGB")))
    if not shown:
        return
    pages.heading("Images with what was found")
    gap = 3.0
    per_height = sum(one.width / one.height for _, one in shown)
    height = min(PICTURE_MM, (pages.epw - gap * (len(shown) - 1)) / per_height)
    if pages.will_page_break(height + 8):
        pages.add_page()
    x, y = pages.l_margin, pages.get_y()
    for words, picture in shown:
        width = height * picture.width / picture.height
        pages.image(picture, x=x, y=y, w=width, h=height)
        pages.set_xy(x, y + height + 0.8)
        pages.set_font(FONT, "", SMALL_PT - 1)
        pages.set_text_color(*GREY)
        pages.cell(width, 3.5, _short(pages, words, width))
        x += width + gap
    pages.set_xy(pages.l_margin, y + height + 5)


def _densities(pages: ReportPages, answer: StudyAnswer) -> None:
    found = answer.prediction.measurements
    if not found:
        return
    pages.heading("Bone density")
    rows = [("Region", "Hospital", "Its T", "Estimate", "T", "Z", "Class of the estimate")]
    for one in found:
        words = capital(region_words(one.region))
        if one.quantity != "areal BMD":
            words += f" ({one.quantity})"
        own = "–" if one.reported is None else f"{one.reported:.3f}"
        said = f"not assessed: the version is {one.not_scored}" if one.not_scored else ""
        rows.append(
            (words, own, _score(one.reported_t_score), f"{one.value:.3f} {one.unit}",
             _score(one.t_score), _score(one.z_score), said or one.bone_class or "–")
        )  # fmt: skip
    pages.rows(rows, (34, 16, 12, 24, 12, 12, 50))
    _small(pages, "Scores by this program's references. * Against a reference not verified.")


def _score(score: Score | None) -> str:
    return "–" if score is None else f"{signed(score.value)}{'' if score.verified else ' *'}"


def _vertebrae(pages: ReportPages, answer: StudyAnswer) -> None:
    found = answer.prediction.grades
    if not found:
        return
    pages.heading("Vertebrae, Genant's grades")
    rows = [("Vertebra", "Hospital", "Estimate", "Probability", "Of grade 2 or 3")]
    rows += [
        (one.region, "–" if one.reported is None else str(one.reported), f"{one.grade}, {one.word}",
         f"{one.chance:.0%}", f"{one.suspicion:.0%}")
        for one in found
    ]  # fmt: skip
    pages.rows(rows, (24, 24, 40, 30, 30))


def _attenuation(pages: ReportPages, answer: StudyAnswer) -> None:
    for number, series in enumerate(answer.prediction.series, start=1):
        found = series.attenuation
        if found is None or not found.levels:
            continue
        pages.heading(f"Second opinion: attenuation, CT series {number}")
        rows = [("Vertebra", "Trabecular HU", "HU at 120 kV", "Mineral, mg/cm³")]
        rows += [
            (one.level, f"{one.core.median_hu:.0f}", one.hu_at_120 or "–", one.mineral or "–")
            for one in found.levels
        ]
        pages.rows(rows, (24, 40, 44, 44))
        said = [found.statement, found.caution, calibration_sentence(found)]
        pages.text_lines(one for one in said if one)


def _small(pages: ReportPages, text: str) -> None:
    pages.set_font(FONT, "", SMALL_PT)
    pages.set_text_color(*GREY)
    pages.multi_cell(0, 4, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)


@cache
def _fonts() -> Path:
    """Folder of the fonts that come with matplotlib."""
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts" / "ttf"
