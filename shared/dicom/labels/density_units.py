"""Units of areal bone density in reports: what turns each into g/cm²."""

from __future__ import annotations

import re
from typing import Final

GRAMS: Final = {"kg": 1000.0, "g": 1.0, "mg": 1e-3, "ug": 1e-6}
SQUARE_CENTIMETRES: Final = {"m": 1e4, "dm": 100.0, "cm": 1.0, "mm": 0.01}
#: As written with signs: g/cm2, g.cm-2, g*cm-2, mg/(cm2).
SIGNS: Final = re.compile(r"(kg|mg|ug|g)(?:/\(?(m|dm|cm|mm)2\)?|[.*]?\(?(m|dm|cm|mm)\)?-2)")
#: As said in words: grams per square centimetre, milligram per centimeter squared.
WORDS: Final = re.compile(
    r"(kilo|milli|micro|)gram(?:me)?s? per "
    r"(?:square )?(deci|centi|milli|)met(?:er|re)s?(?: squared)?"
)
PREFIXES: Final = {"kilo": "k", "milli": "m", "micro": "u", "deci": "d", "centi": "c", "": ""}
ALIKE: Final = str.maketrans(
    {"²": "2", "μ": "u", "µ": "u", "·": ".", "⋅": ".", "−": "-", "⁻": "-", "^": ""}
)


def to_grams_per_square_centimetre(text: str) -> float | None:
    """Factor from a unit of areal density to g/cm², None if the text is none.

    Parameters
    ----------
    text : str
        A UCUM code, or a unit as people write it; of a URN or an address, its end.
    """
    plain = re.sub(r"\{[^}]*\}", "", text.translate(ALIKE).replace("**", "").strip().lower())
    said = WORDS.fullmatch(" ".join(plain.split()))
    if said and "square" in plain:
        return GRAMS[PREFIXES[said[1]] + "g"] / SQUARE_CENTIMETRES[PREFIXES[said[2]] + "m"]
    bare = plain.replace(" ", "")
    match = SIGNS.fullmatch(bare)
    if match is None and bare.startswith(("urn:", "http:", "https:")):
        match = re.search(rf"(?:(?<=[:#/])){SIGNS.pattern}$", bare)
    if match is None:
        return None
    return GRAMS[match[1]] / SQUARE_CENTIMETRES[match[2] or match[3]]
