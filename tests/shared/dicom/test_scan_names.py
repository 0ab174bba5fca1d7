"""What a scan's name means in ten languages, and what is never read into one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.dicom.read import ReadResult, read_study_folder
from shared.dicom.site_reading import SiteReading, view_of_file
from shared.dicom.vendors import RULES, kind_of, lunar, view_told
from shared.dicom.vendors.scan_names import meaning_of, type_named
from shared.dicom.verdicts import SetAsideError
from shared.records import Vendor, View
from shared.scan_types import Decided, ScanType
from shared.settings.pacs import ReadingSettings
from tests.shared.dicom.headers import check_hologic_view, header
from tests.suite.real_images import REAL_IMAGES, needs_real_images

NAMED: dict[ScanType, list[str]] = {
    ScanType.SPINE_PA: [
        "AP Spine", "ＡＰ　ｓｐｉｎｅ", "A.P. Spine", "AP Spine L1-L4", "LWS a.p.",
        "AP-Wirbelsäule", "AP Lendenwirbelsaeule", "Rachis AP", "Rachis lombaire face",
        "Columna AP", "Columna lumbar PA", "Colonna AP", "Coluna lombar AP", "Позвоночник AP",
        "Позвоночник АР", "Поясничный отдел позвоночника, прямая проекция", "요추 전후면",
        "척추 AP", "腰椎正位", "腰椎前后位", "腰椎 正面", "腰椎AP",
    ],
    ScanType.HIP_LEFT: [
        "Left Femur", "LeftFemur", "L. Femur", "Linker Femur", "Hüfte links",
        "Schenkelhals li.", "Fémur gauche", "Col fémoral gauche", "Fémur izquierdo",
        "Cadera izq.", "Femore sinistro", "Anca sx", "Fêmur esquerdo", "Левое бедро",
        "Шейка левого бедра", "좌측 대퇴골", "왼쪽 대퇴골", "左股骨", "左大腿骨頸部",
        "大腿骨（左）",
    ],
    ScanType.HIP_RIGHT: [
        "Right Femur", "Rechter Femur", "Fémur droit", "Правое бедро", "右股骨",
    ],
    ScanType.HIPS: [
        "DualFemur", "Dual Femur", "Femora", "Hüfte beidseits", "Double fémur", "Doble fémur",
        "Doppio femore", "Duplo fêmur", "Двойное бедро", "양측 대퇴골", "双侧股骨",
        "両側大腿骨",
    ],
    ScanType.SPINE_LATERAL: [
        "LVA", "VFA", "Lateral Vertebral Assessment", "Laterale Wirbelkörperbeurteilung",
        "Évaluation vertébrale latérale", "Боковая оценка позвонков", "側面椎体評価",
    ],
    ScanType.SPINE_LATERAL_DENSITY: ["Lateral Spine", "LWS seitlich", "腰椎側面"],
    ScanType.SPINE_FRONTAL_ASSESSMENT: ["APVA"],
    ScanType.ORTHOPAEDIC: ["Left Ortho Knee", "Orthopedic Hip", "Fémur orthopédique"],
    ScanType.FOREARM: [
        "Left Forearm", "Unterarm links", "Avant-bras droit", "Предплечье", "左前腕",
    ],
    ScanType.TOTAL_BODY: [
        "Total Body", "Ganzkörper", "Corps entier", "Все тело", "전신", "全身",
    ],
    ScanType.KNEE: ["Right Knee", "Knie links", "Genou", "膝関節"],
    ScanType.FEMUR_WHOLE: ["Atypical Femur Fracture"],
    ScanType.PHANTOM: ["QA Phantom", "Spine Phantom AP"],
}  # fmt: skip


@pytest.mark.parametrize(("scan", "name"), [(s, n) for s, names in NAMED.items() for n in names])
def test_a_name_means_one_scan(scan: ScanType, name: str) -> None:
    assert type_named(name) is scan


@pytest.mark.parametrize(
    "name",
    [
        "Spine", "LWS", "AP", "AP and lateral spine", "AP spine left femur", "Femur Dr Meyer",
        "Hand study 7", "Femur fracture", "Left", "Vertebral Assessment", "Spine oblique", "apart",
    ],
)  # fmt: skip
def test_what_a_name_leaves_open_stays_open(name: str) -> None:
    assert type_named(name) is None
    assert not meaning_of(name).silent


@pytest.mark.parametrize(
    "name", ["", "---", "Anonymized", "ANONYMISIERT", "xxx", "X", "DXA scan", "匿名", "007", "N/A"]
)
def test_a_name_in_the_place_of_one_says_nothing(name: str) -> None:
    assert type_named(name) is None
    assert meaning_of(name).silent


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"ProtocolName": "Hüfte links"}, View.HIP_LEFT),
        ({"ProtocolName": "x", "SeriesDescription": "Colonna AP"}, View.SPINE_PA),
        ({"StudyDescription": "AP Spine"}, View.SPINE_PA),
        ({"StudyDescription": "AP Spine, Left Femur"}, "scan_type_unknown"),
        ({"ProtocolName": "Spine-Q 9", "StudyDescription": "AP Spine"}, "scan_type_unknown"),
        ({"ProtocolName": "Femur", "Laterality": "L"}, View.HIP_LEFT),
        ({"ProtocolName": "Femur"}, "scan_type_unknown"),
        ({"ProtocolName": "DualFemur", "ImageLaterality": "L"}, View.HIP_LEFT),
        ({"ProtocolName": "DualFemur"}, "hip_side_unknown"),
        ({"ProtocolName": "Left Femur", "Laterality": "R"}, "scan_type_unknown"),
        ({"ProtocolName": "AP Spine", "SeriesDescription": "Left Femur"}, "scan_type_unknown"),
        ({"ProtocolName": "AP/Lat Spine", "SeriesDescription": "AP Spine"}, "scan_type_unknown"),
        ({"ProtocolName": "AP Spine", "BodyPartExamined": "HIP"}, "scan_type_unknown"),
        ({"ProtocolName": "AP Spine", "BodyPartExamined": "LSPINE"}, View.SPINE_PA),
    ],
)
def test_names_that_differ_are_set_aside(
    attributes: dict[str, object], outcome: View | str
) -> None:
    if isinstance(outcome, View):
        assert lunar.view_of(header(**attributes)) is outcome
    else:
        with pytest.raises(SetAsideError, match=outcome):
            lunar.view_of(header(**attributes))


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"SeriesDescription": "LWS a.p."}, View.SPINE_PA),
        ({"SeriesDescription": "Hanche gauche"}, View.HIP_LEFT),
        ({"BodyPartExamined": "HIP", "SeriesDescription": "左股骨"}, View.HIP_LEFT),
        ({"BodyPartExamined": "LSPINE", "SeriesDescription": "측면"}, View.SPINE_LATERAL),
        ({"BodyPartExamined": "LSPINE", "SeriesDescription": "Left Hip"}, "scan_type_unknown"),
        (
            {"BodyPartExamined": "HIP", "Laterality": "L", "SeriesDescription": "Right Hip"},
            "scan_type_unknown",
        ),
        ({"SeriesDescription": "Предплечье"}, "view_not_used"),
    ],
)
def test_hologic_words_are_read_in_other_languages(
    attributes: dict[str, object], outcome: View | str
) -> None:
    check_hologic_view(attributes, outcome)


def told(attributes: dict[str, object], names: dict[str, str]) -> object:
    settings = ReadingSettings.model_validate({"scan_names": names})
    rules = next(rules for rules in RULES if rules.vendor is Vendor.LUNAR)
    try:
        return view_told(rules, header(**attributes), settings)
    except SetAsideError as aside:
        return aside.reason


def test_the_sites_own_words_come_first_and_are_held_against_the_rest() -> None:
    names = {"Anonymisé": "spine_pa", "Spine": "spine_pa", "Femur": "knee", "LVA": "lumbar_ap"}
    assert told({"ProtocolName": "ANONYMISE"}, names) == (View.SPINE_PA, "mapped")
    assert told({"ProtocolName": "spine."}, names) == (View.SPINE_PA, "mapped")
    assert told({"ProtocolName": "AP Spine"}, names) == (View.SPINE_PA, "named")
    assert told({"ProtocolName": "Femur"}, names) == "view_not_used"
    assert told({"ProtocolName": "LVA"}, names) == "scan_type_unknown"
    other: dict[str, object] = {"ProtocolName": "Spine", "SeriesDescription": "Left Femur"}
    assert told(other, names) == "scan_type_unknown"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"A": "spine"}, "scan_names"),
        ({"Köpf": "spine_pa", "KOPF.": "hip_left"}, "'Köpf' \\(spine_pa\\) and 'KOPF.'"),
        ({"---": "spine_pa"}, "'---' is no name"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_an_error(names: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ReadingSettings.model_validate({"scan_names": names})


def test_a_hip_without_a_side_is_decided_alone_whatever_else_it_is_called() -> None:
    def telling(**attributes: object) -> bool:
        return kind_of(header(**attributes), Vendor.LUNAR).telling

    assert telling(ProtocolName="Osteo 1")
    assert telling(ProtocolName="Left Femur", SeriesDescription="Quervain study")
    assert not telling(ProtocolName="Femur", SeriesDescription="Quervain study")


def test_the_next_of_a_decided_kind_is_no_hip_without_a_side() -> None:
    rules = next(rules for rules in RULES if rules.vendor is Vendor.LUNAR)
    decided = Decided(ScanType.HIP_LEFT)
    reading = SiteReading(decisions=lambda digest, kind: (None, decided))
    dataset = header(ProtocolName="Osteo 1")
    kind = kind_of(dataset, Vendor.LUNAR)
    with pytest.raises(SetAsideError, match="hip_side_unknown"):
        view_of_file(rules, dataset, reading, "", kind, b"")


def read_case(settings: ReadingSettings | None = None) -> ReadResult:
    folder: Path = REAL_IMAGES / "cases" / "lunar_protocol_names"
    return read_study_folder(folder, settings=settings)


@needs_real_images
def test_lunar_names_of_six_kinds() -> None:
    reasons = {file.path: (file.verdict, file.reason) for file in read_case().files}
    for name in ("1.dcm", "2.dcm", "3.dcm"):
        assert reasons[name] == ("taken", "ok")
    assert reasons["5.dcm"] == ("quarantined", "view_not_used")
    meant = ReadingSettings.model_validate({"scan_names": {"anonymized": "spine_pa"}})
    views = [view for study in read_case(meant).studies for view in study.images]
    assert views == [View.SPINE_PA] * 4
