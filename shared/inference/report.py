"""One self-contained HTML file a study: no script, nothing fetched, prints on A4."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from markupsafe import Markup

from shared.clinical.references import AGE_CURVES
from shared.clinical.scores import BoneClass
from shared.clinical.whose_reference import HipReference, has_scale, young_reference
from shared.findings.attenuation import calibration_sentence, published_cut_offs
from shared.findings.facts import Grade, Measurement, Score
from shared.findings.findings import FRACTURE_GRADE, RegionMap, class_of, scores_of
from shared.findings.region_names import VIEW_WORDS, region_words
from shared.hips import hip_of
from shared.inference.conclusions import SITES
from shared.inference.fractures import is_uncertain
from shared.inference.impression import diagnosed
from shared.inference.pictures.score_graph import GraphPoint, score_graph
from shared.inference.pictures.series import series_svgs
from shared.inference.pictures.views import GRADE_COLOURS, as_scanned, marks, view_svg
from shared.inference.schema import Prediction
from shared.inference.second_opinion import concluded_opinion, told_opinions
from shared.inference.wording import VENDOR_WORDS
from shared.phrases import capital, listed, shown_date, shown_name, signed
from shared.records import (
    DXA_VIEWS,
    Covariates,
    ImageRecord,
    StudyLabels,
    Vendor,
    View,
    VolumeRecord,
)
from shared.regions import BMD_REGIONS, RIGHT_HIP, VERTEBRAE, sideless

if TYPE_CHECKING:
    from jinja2 import Template

TONES: Mapping[str, str] = {
    BoneClass.NORMAL: "good",
    BoneClass.EXPECTED_FOR_AGE: "good",
    BoneClass.LOW_BONE_MASS: "watch",
    BoneClass.OSTEOPOROSIS: "alert",
    BoneClass.BELOW_EXPECTED: "alert",
}

#: More bold text than this, about two lines, is no headline.
LONGEST_BOLD: Final = 160
#: Where a text may be divided; what is found begins the part that follows.
_SENTENCES: Final = re.compile(r"(?<=\.) (?=[A-Z])")
_CLAUSES: Final = re.compile(
    r"(?<=;) |(?<=,) (?=because |lowest )| (?=\()|(?:(?<=[−+]\d\.\d)|(?<= 0\.0)) (?=at the )"
)
_COMMAS: Final = re.compile(r"(?<=,) ")
_WORDS: Final = re.compile(r" ")


@dataclass(frozen=True)
class ReportInput:
    """What a report is made of besides the prediction: names and pixels.

    `patient_name` is untrusted text and is escaped like everything else.
    """

    patient_name: str
    vendor: Vendor
    covariates: Covariates
    labels: StudyLabels
    images: Mapping[View, ImageRecord]
    region_maps: Mapping[View, RegionMap]
    volumes: Mapping[str, VolumeRecord] = field(default_factory=dict)
    volume_maps: Mapping[str, RegionMap] = field(default_factory=dict)
    set_aside: Mapping[View, str] = field(default_factory=dict)
    hip: HipReference = HipReference.NHANES


def render_report(prediction: Prediction, given: ReportInput) -> str:
    """Render the report of one study.

    Parameters
    ----------
    prediction : Prediction
        What ``prediction.json`` holds.
    given : ReportInput

    Returns
    -------
    str
        An HTML document; see docs/report.md.
    """
    kind = prediction.conclusions[0].kind if prediction.conclusions else "neither"
    rows = _density_rows(prediction, given)
    return _template().render(
        prediction=prediction,
        given=given,
        kind=kind,
        views=_views(prediction, given),
        series_figures=_series_figures(prediction, given),
        opinions=[(name, one.attenuation) for name, one in told_opinions(prediction.series)],
        published_cut_offs=published_cut_offs(),
        calibration_sentence=calibration_sentence,
        graphs=_graphs(rows, given, kind),
        rows=rows,
        patient_name=shown_name(given.patient_name),
        study_date=shown_date(prediction.study.study_date),
        unsure=_unverified(rows, kind),
        own_rows=_own_rows(prediction, given, rows),
        single=young_reference("L1", given.vendor).source if has_scale(given.vendor) else "",
        curves=_curves(rows, given),
        left_out=_left_out(prediction, "hospital"),
        unused=_left_out(prediction, "estimate"),
        vertebrae=_vertebrae(prediction),
        vendor_words=VENDOR_WORDS[given.vendor],
        scale_words=VENDOR_WORDS[_scale(prediction, given)],
        tones=TONES,
        worst=_worst_tone(prediction),
        headline=headline,
        listed=listed,
        signed=signed,
        region_words=region_words,
        capital=capital,
        grade_colours=GRADE_COLOURS,
    )


@dataclass(frozen=True)
class DensityRow:
    """One line of the table of densities: what was measured, and the estimate beside it.

    `own` is the hospital's value in g/cm² (None: not measured), with its scores and class.
    """

    region: str
    own: float | None
    own_t_score: Score | None
    own_z_score: Score | None
    own_class: str | None
    estimate: Measurement | None


def _density_rows(prediction: Prediction, given: ReportInput) -> list[DensityRow]:
    """Every region that a model estimated, or that the hospital measured for a diagnosis."""
    rows = [
        DensityRow(m.region, m.reported, m.reported_t_score, m.reported_z_score,
                   class_of(m.reported_t_score, m.reported_z_score, m.region, given.covariates), m)
        for m in prediction.measurements
    ]  # fmt: skip
    shown = {row.region for row in rows}
    for region in SITES:
        if region in given.labels.bmd and region not in shown:
            own = given.labels.bmd[region]
            t, z = scores_of(own, region, given.vendor, given.covariates, given.hip)
            rows.append(
                DensityRow(region, own, t, z, class_of(t, z, region, given.covariates), None)
            )
    return rows


def _unverified(rows: Sequence[DensityRow], kind: str) -> bool:
    """Whether a score that the table shows is against a reference that is not verified."""
    shown = [row.own_z_score if kind == "Z" else row.own_t_score for row in rows]
    for found in (row.estimate for row in rows):
        if found is not None:
            shown += [found.z_score] if kind == "Z" else [found.t_score, found.z_score]
    return any(score is not None and not score.verified for score in shown)


def _graphs(rows: Sequence[DensityRow], given: ReportInput, kind: str) -> list[Markup]:
    """One panel for each site that a diagnosis may rest on."""
    graphs = []
    for row in rows:
        found = row.estimate
        if row.region not in SITES or (found and found.quantity != "areal BMD"):
            continue
        scale = given.vendor if found is None else Vendor(found.scale)
        if not has_scale(scale):
            continue
        estimate = None if found is None or found.not_scored else found.value
        point = GraphPoint(sideless(row.region), row.own, estimate)
        title = capital(region_words(row.region))
        svg = score_graph(point, scale, given.covariates, kind, title, given.hip)
        graphs.append(Markup(svg))  # noqa: S704 - made by us; every text in it is escaped
    return graphs


def _curves(rows: Sequence[DensityRow], given: ReportInput) -> list[str]:
    """Of whom the curves by age are that the graphs show; no population goes unsaid."""
    known = (AGE_CURVES.get((given.covariates.sex or "", sideless(row.region))) for row in rows)
    return list(dict.fromkeys(curve.people for curve in known if curve is not None))


def _scale(prediction: Prediction, given: ReportInput) -> Vendor:
    """Whose scale the densities are on: a CT has none of its own."""
    scales = {Vendor(m.scale) for m in prediction.measurements if m.unit == "g/cm²"}
    return next(iter(scales)) if len(scales) == 1 else given.vendor


def _views(prediction: Prediction, given: ReportInput) -> list[dict[str, object]]:
    """One entry per view, missing ones included, so that a gap is seen; none of a CT study."""
    entries: list[dict[str, object]] = []
    if prediction.series and not prediction.images:
        return entries
    either = hip_of(given.images) is View.HIP_RIGHT
    wanted = (View.SPINE_PA, View.HIP_RIGHT, View.SPINE_LATERAL) if either else DXA_VIEWS
    both = View.HIP_RIGHT in given.images and not either
    for view in (*wanted, View.HIP_RIGHT) if both else wanted:
        image = given.images.get(view)
        name = capital(VIEW_WORDS[view])
        if image is None:
            why = given.set_aside.get(view, "not in this study")
            nothing = {"drawn": None, "plain": None, "why": why}
            entries.append({"view": view.value, "name": name, **nothing})
            continue
        image, regions = as_scanned(view, image, given.region_maps.get(view))
        drawn = marks(view, regions, prediction.grades)
        entries.append(
            {
                "view": view.value,
                "name": name,
                "drawn": Markup(view_svg(view, image, drawn, f"{name}, outlined")),  # noqa: S704
                "plain": Markup(view_svg(view, image, [], f"{name}, as scanned")),  # noqa: S704
            }
        )
    return entries


def _series_figures(prediction: Prediction, given: ReportInput) -> list[dict[str, str]]:
    """Two projections of each CT series in which something was found."""
    found = []
    for (uid, volume), facts in zip(given.volumes.items(), prediction.series, strict=False):
        regions = given.volume_maps.get(uid)
        if not facts.levels and (regions is None or not regions.any()):
            continue
        places = listed([f"{level} in slice {place + 1}" for level, place in facts.levels.items()])
        words = f"{places or 'Outlines'} of {facts.shape[0]}, counted from the feet"
        front, side = series_svgs(volume, regions, facts.levels, words)
        found.append({"front": Markup(front), "side": Markup(side), "words": words})  # noqa: S704
    return found


def _own_rows(
    prediction: Prediction, given: ReportInput, above: Sequence[DensityRow]
) -> list[dict[str, object]]:
    """Values of the hospital that stand in no row above (single vertebrae, trochanter)."""
    shown = {row.region for row in above if row.own is not None}
    left_out = _left_out(prediction, "hospital")
    rows: list[dict[str, object]] = []
    for region in (*BMD_REGIONS, *RIGHT_HIP):
        if region not in given.labels.bmd or region in shown:
            continue
        bmd = given.labels.bmd[region]
        score, _ = scores_of(bmd, region, given.vendor, given.covariates, given.hip)
        rows.append(
            {
                "region": region,
                "bmd": bmd,
                "score": None if score is None else score.value,
                "left_out": left_out.get(region),
            }
        )
    return rows


def _vertebrae(prediction: Prediction) -> list[tuple[str, int | None, Grade | None]]:
    """Each graded vertebra: its name, the hospital's own grade, the model's."""
    own = {name: grade for one in prediction.conclusions for name, grade in one.grades.items()}
    found = {grade.region: grade for grade in prediction.grades}
    names = [name for name in VERTEBRAE if name in own or name in found]
    return [(name, own.get(name), found.get(name)) for name in names]


def _left_out(prediction: Prediction, basis: Literal["estimate", "hospital"]) -> dict[str, str]:
    """Reasons of the vertebrae that one conclusion left out."""
    reasons = {one.basis: one.left_out for one in prediction.conclusions}
    return dict(reasons.get(basis, {}))


def _worst_tone(prediction: Prediction) -> str:
    """Tone of the impression: that of the worst thing in it, whoever found it.

    It is not good where a vertebra is uncertain, or where the hospital's diagnosis says something
    whose tone is not known.
    """
    tones = [TONES.get(c.bone_class or "", "") for c in prediction.conclusions]
    tones += [TONES[name] for c in prediction.conclusions for name in diagnosed(c)]
    if any(map(is_uncertain, prediction.grades)):
        tones.append("watch")
    grades = [g.grade for g in prediction.grades]
    grades += [grade for one in prediction.conclusions for grade in one.grades.values()]
    if concluded_opinion(prediction.series):
        tones.append("watch")
    if max(grades, default=0) >= FRACTURE_GRADE:
        tones.append("alert")
    order = ["", "good", "watch", "alert"]
    worst = max(tones, key=order.index, default="")
    unclear = any(len(diagnosed(c)) < len(c.diagnoses) for c in prediction.conclusions)
    return "" if worst == "good" and unclear else worst


def unbroken(text: str) -> str:
    """Keep ``T-score`` and ``L1-L4`` on one line by hyphens that do not break."""
    for word in ("T-score", "Z-score", "L1-L4"):
        text = text.replace(word, word.replace("-", "\u2011"))
    return text


def headline(text: str) -> tuple[str, str]:
    """Divide the first entry of an impression: what is printed bold, and all that follows.

    Bold are the first sentences, as many as are at most `LONGEST_BOLD` characters together. A
    longer first sentence is divided at the last of its parts that fits: before a clause, a
    bracket or the place of a score, else behind a comma, else between two words.

    Returns
    -------
    bold, rest : str
        Together the text, character by character.
    """
    if len(text) <= LONGEST_BOLD:
        return text, ""
    for parts in (_SENTENCES, _CLAUSES, _COMMAS, _WORDS):
        ends = [found.start() for found in parts.finditer(text, 0, LONGEST_BOLD + 1)]
        outside = [end for end in ends if text.count("(", 0, end) == text.count(")", 0, end)]
        if outside:
            return text[: outside[-1]], text[outside[-1] :]
    return text[:LONGEST_BOLD], text[LONGEST_BOLD:]


@cache
def _template() -> Template:
    """Load the template; everything that it prints is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    return environment.get_template("report.html.j2")
