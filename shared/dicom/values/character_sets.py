"""Which character set the texts of a file are in, where it does not say or says it wrongly.

What a file says holds as long as its texts can be in it. Where it says nothing, names a set
that nobody knows, or one in which the texts would be nonsense, they are in UTF-8 if all of them
can be: text of another set almost never can. Otherwise they are read byte by byte (Latin-1),
which loses nothing, so that two patients' ids never become one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, ESC
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

TEXT: Final = frozenset({"LO", "SH", "LT", "ST", "UT", "UC", "PN"})
#: Longer texts are no names; what is as long as pixels is not looked at.
LONGEST: Final = 65_536
#: What pydicom calls Latin-1, which is also what it takes where nothing is said.
LATIN: Final = frozenset({"iso8859", "latin_1", "latin1", "iso8859_1", "iso-8859-1"})
#: Sets of single bytes whose words are hardly ever valid UTF-8.
UNLIKE_UTF8: Final = LATIN | {
    "iso8859_2", "iso8859_3", "iso8859_4", "iso_ir_126", "iso_ir_144", "iso_ir_148",
}  # fmt: skip
#: Korean and Chinese by pairs of bytes, which ASCII alone could not be.
BYTE_PAIRS: Final = frozenset({"euc_kr", "iso_ir_58"})
#: Control characters that no name has: text was read in the wrong set.
NO_TEXT: Final = re.compile("[\x80-\x9f]")


def settle_character_set(dataset: Dataset) -> None:
    """Have the texts of a data set read in the set that they are in.

    Parameters
    ----------
    dataset : Dataset
        As parsed, its values not yet converted.
    """
    texts = list(_texts(dataset))
    if not texts:
        return
    given = dataset.original_character_set
    said = [given] if isinstance(given, str) else list(given)
    found = _encodings_of(texts, said)
    if found != said:
        dataset.set_original_encoding(
            dataset.original_encoding[0], dataset.original_encoding[1], found
        )


def _texts(dataset: Dataset) -> Iterator[bytes]:
    """Texts of a data set that are more than ASCII, its sequences left out."""
    for tag in dataset.keys():  # noqa: SIM118 (a data set iterates over its elements, converted)
        raw = dataset.get_item(tag)
        value = getattr(raw, "value", None)
        if not isinstance(raw, RawDataElement) or not isinstance(value, bytes):
            continue
        if len(value) > LONGEST or (value.isascii() and ESC not in value):
            continue
        if _is_text(raw):
            yield value


def _is_text(raw: RawDataElement) -> bool:
    if raw.VR not in (None, "UN"):
        return raw.VR in TEXT
    try:
        return dictionary_VR(raw.tag) in TEXT
    except KeyError:
        return False


def _encodings_of(texts: list[bytes], said: list[str]) -> list[str]:
    """Python's names of the sets that texts are in, by what the file says."""
    first = said[0].lower() if said else "iso8859"
    escaped = [text for text in texts if ESC in text]
    if escaped and len(said) < 2 and first in LATIN:
        used = {
            name for code, name in CODES_TO_ENCODINGS.items() if any(code in t for t in escaped)
        }
        return ["iso8859", *sorted(used - LATIN)]
    plain = [text for text in texts if ESC not in text]
    if not plain or all(text.isascii() for text in plain):
        return said
    wide = [name for name in said[1:] if name in BYTE_PAIRS]
    if first == "iso8859" and len(wide) == 1 and all(_fits(text, wide[0]) for text in plain):
        return [*wide, *said]  # the escape before the text was left out
    fits = all(_fits(text, said[0]) for text in plain)
    if fits and first not in UNLIKE_UTF8:
        return said
    if all(_fits(text, "utf-8") for text in plain):
        return ["UTF8"]
    return said if fits or first in LATIN else ["latin_1"]


def _fits(text: bytes, encoding: str) -> bool:
    """Say whether bytes are text in a set."""
    try:
        return NO_TEXT.search(text.decode(encoding)) is None
    except (LookupError, UnicodeError):
        return False


def plain_text(text: str) -> str:
    """Text in the one form in which equal texts are equal (NFC).

    What was read byte by byte and is UTF-8 is read as that: the items of a sequence inherit a
    set that may be missing or wrong.
    """
    if text.isascii():
        return text
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return unicodedata.normalize("NFC", text)
