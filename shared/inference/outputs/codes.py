"""Codes of what is sent back: those of the standard's dictionaries, else one private scheme.

`pydicom.sr` has the dictionaries (PS3.16 annex D, and SNOMED CT, LOINC and UCUM as far as the
standard uses them). What they lack has a code of `SCHEME`; docs/what-we-send-back.md lists all of
these with what they mean. ``g/cm2`` is UCUM's by its grammar, which the dictionary cannot list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from shared.clinical.scores import BoneClass
from shared.regions import VERTEBRAE, sideless

SCHEME: Final = "99OSTEOFED"
SCHEME_NAME: Final = "OsteoFed, docs/what-we-send-back.md"

#: Code value and meaning of what no dictionary has. Codes are kept in archives: never renamed.
PRIVATE: Final[Mapping[str, str]] = {
    "FEMORAL_NECK": "Femoral neck",
    "TROCHANTER": "Greater trochanter region of DXA",
    "INTERTROCHANTER": "Intertrochanteric region of DXA",
    "TOTAL_HIP": "Total hip region of DXA",
    "AREAL_BMD": "Areal bone mineral density",
    "STANDARD_BMD": "Standardised areal bone mineral density",
    "T_SCORE": "T-score",
    "TRABECULAR_HU": "Trabecular attenuation",
    "HU_AT_120_KV": "Trabecular attenuation brought to 120 kV",
    "MINERAL": "Trabecular hydroxyapatite density by internal calibration",
    "QUANTITY": "Quantity that its tracking identifier names",
    "BONE_CLASS": "Class of bone density",
    "NORMAL": "Normal bone density",
    "LOW_BONE_MASS": "Low bone mass",
    "OSTEOPOROSIS": "Bone density of osteoporosis",
    "EXPECTED": "Within the expected range for age",
    "BELOW_EXPECTED": "Below the expected range for age",
    "GENANT": "Vertebral fracture by Genant's grades",
    "GENANT_0": "Grade 0, none",
    "GENANT_1": "Grade 1, mild",
    "GENANT_2": "Grade 2, moderate",
    "GENANT_3": "Grade 3, severe",
    "PROBABILITY_0": "Probability of grade 0",
    "PROBABILITY_1": "Probability of grade 1",
    "PROBABILITY_2": "Probability of grade 2",
    "PROBABILITY_3": "Probability of grade 3",
    "SUSPICION": "Probability of grade 2 or 3",
    "NOT_ASSESSED": "Not assessed, with the reason",
    "NOTHING": "Nothing was measured",
    "QUALITY": "What weakens a finding",
    "TECHNIQUE": "How it was found",
    "LIMITS": "What the report does not say",
    "REPLACED": "Document that this one replaces",
}


def private(code: str) -> CodedConcept:
    """Concept of the private scheme.

    Raises
    ------
    KeyError
        If the scheme has no such code.
    """
    return CodedConcept(code, SCHEME, PRIVATE[code])


def _standard(code: object) -> CodedConcept:
    return CodedConcept(code.value, code.scheme_designator, code.meaning)  # type: ignore[attr-defined]


ANATOMY: Final = _standard(codes.SCT.AnatomicalStructure)
RIGHT: Final = _standard(codes.SCT.Right)
LEFT: Final = _standard(codes.SCT.Left)
AREA: Final = _standard(codes.SCT.Area)
MEDIAN: Final = _standard(codes.SCT.Median)
Z_SCORE: Final = _standard(codes.DCM.ZScoreOfMeasurement)
FINDING: Final = _standard(codes.DCM.Finding)
IMPRESSION: Final = _standard(codes.DCM.Impression)
PROCESSING: Final = _standard(codes.DCM.ProcessingEquipment)
ARTIFICIAL_INTELLIGENCE: Final = _standard(codes.DCM.ArtificialIntelligence)
NO_UNITS: Final = _standard(codes.UCUM.NoUnits)
CT_PROCEDURE: Final = _standard(codes.LN.CTUnspecifiedBodyRegion)
XRAY_PROCEDURE: Final = _standard(codes.LN.XRUnspecifiedBodyRegion)
#: Fixed by TID 1500 (PS3.16), which the dictionary does not list.
QUALITATIVE_EVALUATIONS: Final = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")

#: Unit of a finding as the report writes it, and its UCUM code.
UNITS: Final[Mapping[str, CodedConcept]] = {
    "g/cm²": CodedConcept("g/cm2", "UCUM", "g/cm2"),
    "mg/cm³": _standard(codes.UCUM.MilligramsPerCubicCentimeter),
    "cm²": _standard(codes.UCUM.SquareCentimeter),
    "HU": _standard(codes.UCUM.HounsfieldUnit),
    "%": _standard(codes.UCUM.Percent),
    "": NO_UNITS,
}

REGIONS: Final[Mapping[str, CodedConcept]] = {
    **{
        name: _standard(getattr(codes.SCT, f"{name}Vertebra"))
        for name in (*VERTEBRAE, "T1", "T2", "T3", "L5")
    },
    "L1-L4": _standard(codes.SCT.LumbarSpine),
    "femoral_neck": private("FEMORAL_NECK"),
    "trochanter": private("TROCHANTER"),
    "intertrochanteric": private("INTERTROCHANTER"),
    "total_hip": private("TOTAL_HIP"),
}
HIP_REGIONS: Final = frozenset({"femoral_neck", "trochanter", "intertrochanteric", "total_hip"})

CLASSES: Final[Mapping[str, CodedConcept]] = {
    BoneClass.NORMAL.value: private("NORMAL"),
    BoneClass.LOW_BONE_MASS.value: private("LOW_BONE_MASS"),
    BoneClass.OSTEOPOROSIS.value: private("OSTEOPOROSIS"),
    BoneClass.EXPECTED_FOR_AGE.value: private("EXPECTED"),
    BoneClass.BELOW_EXPECTED.value: private("BELOW_EXPECTED"),
}


def region_concept(region: str) -> CodedConcept | None:
    """Concept of a region, without its side; None of what is no region (a mean of levels)."""
    return REGIONS.get(sideless(region))


def side_of(region: str, *, right: bool = False) -> CodedConcept | None:
    """Side of a region of a hip; a name without a side is the left one's unless `right`."""
    if sideless(region) not in HIP_REGIONS:
        return None
    return RIGHT if right or region.startswith("right_") else LEFT


def scheme_item() -> Dataset:
    """Item of the Coding Scheme Identification Sequence (PS3.3 C.12.1) for the private scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = "OsteoFed"
    return item
