"""Words that name nobody, though somebody may be called so.

The store, the logs and the settings are made of these words; a patient called White or
August is looked for by the whole name only, never by such a word alone.
"""

from __future__ import annotations

from typing import Final

COMMON_WORDS: Final = frozenset(
    """
    january february march april may june july august september october november december
    januar februar märz maerz mai juni juli oktober dezember monday tuesday wednesday
    thursday friday saturday sunday today african american asian black caucasian european
    hispanic latina latino mixed native other pacific islander white green grey female
    unknown none true false yes man woman frau herr miss mister doctor prof professor
    physician referring operator operators radiographer radiologist technologist technician
    duty staff nurse hospital clinic klinik klinikum praxis department radiology radiologie
    institute centre center general university universität medical health healthcare care
    ward room unit private patient patients name names anonymous anonymized anonymised anon
    removed deidentified pseudonym identifier identifiers birth date dates day days time
    times year years month months hours age sex size height weight dicom dicomdir image
    images study studies series scan scans scanner instance slice slices frame frames volume
    volumes file files folder folders export exports archive backup data dataset report
    reports result results page document table tables mask masks segmentation label labels
    region regions localizer scout topogram pixels pixel array arrays header quality
    catalogue store stored site sites secret ledger audit answer answers node nodes server
    client shared model models task tasks network train training validation test tests
    testing tested sample samples phantom demo example spine lspine lumbar lumbal lateral
    frontal femur femoral neck trochanter intertrochanteric troch total left right both body
    bone density vertebra vertebrae vertebral knee hand forearm head shaft hip soft
    background metal contrast kernel standard anterior posterior standing original derived
    primary capture screen hologic horizon discovery explorer delphi lunar prodigy encore
    family fast calibrated detector spacing provenance lossy resampled origin thickness
    method motion rotation saturation level cut field wrong margin flag flags strength code
    codes value values number numbers count counts length words digest digests kind kinds
    verdict reason taken quarantined refused damaged unreadable missing empty already there
    long short young old strong small large high low best good better first last next early
    late rich bright major fields street german judge cross grace house mark max power ray
    read ring trust tree will worth zero root main user home local host hosts port error
    errors warning info line lines start started stop stopped end ended begin running
    pending failed failure finished complete completed done open close closed event events
    message messages request requests reply round rounds session token key keys lock path
    paths python linux system process version versions float double integer string bytes
    object list dict tuple type types class index loss metric metrics mean median batch step
    axial sagittal coronal thorax abdomen pelvis chest systems siemens philips assessment
    debug service active branch master summary minimum maximum average
    ap pa lat lva iva seg dxa ct cr dx sr mr us hips
    steps rate noise sigma delta alpha beta gamma epsilon lambda
    """.split()  # noqa: SIM905 - a list of words
)
