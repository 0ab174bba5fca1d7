"""Identifiers seen at ingest, remembered as keyed digests so that an audit can look for them.

What was seen is brought into the forms in which it could stand somewhere (`forms_of`), each
in one spelling: compatibility forms resolved, case folded, everything that is no letter or
digit one blank. Only HMAC-SHA256 under the site's secret of each form is kept, with its length
and number of words. `Remembered` finds them again in any text, without knowing them.

========================== ==========================================================
what is not looked for      why
========================== ==========================================================
words under 4 letters       every text holds them (a whole name of 5 letters is)
numbers under 6 digits      so do counts, ports and years
words in `COMMON_WORDS`     the programs write them themselves; the whole name is
a single word of free text  it is rarely a name, and names are seen elsewhere too
a city or country alone     likewise; street and number, and code with city, are
days since the site's making the logs are dated with them (`Remembered.forget_days`)
========================== ==========================================================
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import case, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.store.catalogue import Identifier
from shared.dicom.phi.common_words import COMMON_WORDS
from shared.dicom.phi.deidentify import keyed_digest
from shared.dicom.phi.identifiers import SeenIdentifier

WORD: Final = re.compile(r"[^\W_]+")
#: Where one written-together thing ends and another begins: aB, ABc, a1, 1a.
SEAM: Final = re.compile(
    r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
#: Chinese, Japanese and Korean letters say as much as a syllable each.
DENSE: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
UID: Final = re.compile(r"(?<![\d.])(?=[\d.]{10})\d+(?:\.\d+){2,}(?![\d]|\.\d)")
TELEPHONE: Final = re.compile(r"(?<![\w.])\+?\(?\d[\d ()/.\-]{5,24}\d(?![\w])")
HEXADECIMAL: Final = re.compile(r"[0-9a-f]{16,}")
MOST_WORDS: Final = 8
FEWEST_LETTERS: Final = 4
FEWEST_DIGITS: Final = 6
FEWEST_IN_ALL: Final = 5
#: A number of fewer digits is looked for only where it is not part of a longer one.
SURE_DIGITS: Final = 8
#: Letters from which on a word is found inside another, too.
INSIDE_LETTERS: Final = 8
INSIDE_MIXED: Final = 6
ROWS_PER_INSERT: Final = 2000
MOST_TRIED: Final = 500_000
#: Kinds of what tells how a phrase or a word begins, so that few of them are tried.
FIRST_WORD: Final = "first word"
FIRST_LETTERS: Final = "first letters"
BEGINNINGS: Final = frozenset({FIRST_WORD, FIRST_LETTERS})
#: Where an identifier is of two kinds, any other kind says more than this.
FILE_NAME: Final = "file name"
NAMES: Final = frozenset({"name", "person"})
NUMBERS: Final = frozenset({"patient id", "accession", "device"})
GERMAN: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
STROKES: Final = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"})

_MONTHS: Final = (
    ("jan",), ("feb",), ("mar", "mär", "mae"), ("apr",), ("may", "mai"), ("jun",), ("jul",),
    ("aug",), ("sep",), ("oct", "okt"), ("nov",), ("dec", "dez"),
)  # fmt: skip
MONTHS: Final = {word: n for n, words in enumerate(_MONTHS, start=1) for word in words}
_BETWEEN: Final = r"[-./_ \\]"
DATES: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"(?<!\d)(?<!\d\.)(\d{4})(\d\d)(\d\d)(?:\d{6})?(?!\d)"), ("ymd",)),
    (re.compile(r"(?<!\d)(?<!\d\.)(\d\d)(\d\d)(\d{4})(?!\d)"), ("dmy",)),
    (re.compile(rf"(?<!\d)(\d{{4}}){_BETWEEN}(\d\d?){_BETWEEN}(\d\d?)(?!\d)"), ("ymd",)),
    (re.compile(rf"(?<!\d)(\d\d?){_BETWEEN} ?(\d\d?){_BETWEEN} ?(\d{{4}})(?!\d)"), ("dmy", "mdy")),
    (re.compile(r"(?<!\d)(\d\d?)\.?[-_ ]?([a-zä]{3,9})\.?,?[-_ ]?(\d{4})(?!\d)"), ("dmy",)),
    (re.compile(r"\b([a-zä]{3,9})\.?[-_ ](\d\d?)(?:st|nd|rd|th)?,?[-_ ](\d{4})(?!\d)"), ("mdy",)),
)


@dataclass(frozen=True)
class Form:
    """One way in which an identifier could stand somewhere; `text` is in one spelling."""

    kind: str
    text: str

    @property
    def words(self) -> int:
        """How many words; 1 for dates, UIDs and telephone numbers, 0 for a beginning."""
        if self.kind in BEGINNINGS:
            return 0
        return 1 if self.text[:1] in "=~+" else self.text.count(" ") + 1

    def __repr__(self) -> str:
        """Hide the text."""
        return f"Form({self.kind}: ***)"


def spelled(text: str) -> str:
    """Bring a text into the one spelling in which everything is compared."""
    return unicodedata.normalize("NFKC", text).casefold()


def words_of(text: str) -> list[str]:
    """Words of a text in one spelling."""
    return WORD.findall(spelled(text))


def dates_in(text: str) -> set[str]:
    """Every day that a text may mean, as 8 digits; text in one spelling (`spelled`)."""
    found: set[str] = set()
    for pattern, orders in DATES:
        for match in pattern.finditer(text):
            for order in orders:
                parts = dict(zip(order, match.groups(), strict=True))
                month = parts["m"] if parts["m"].isdigit() else str(MONTHS.get(parts["m"][:3], 0))
                year, number, day = int(parts["y"]), int(month), int(parts["d"])
                if 1880 <= year <= 2100 and 1 <= number <= 12 and 1 <= day <= 31:
                    found.add(f"{year:04d}{number:02d}{day:02d}")
    return found


def variants(word: str) -> set[str]:
    """A word as it is, without accents, and with German vowels written out."""
    plain = unicodedata.normalize("NFKD", word.translate(STROKES))
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return {word, unicodedata.normalize("NFC", bare), word.translate(GERMAN).translate(STROKES)}


def means_something(words: list[str]) -> bool:
    """Whether words can stand for somebody (the table of this module)."""
    text = "".join(words)
    weight = len(text) + len(DENSE.findall(text))
    if all(word in COMMON_WORDS or (word.isdigit() and len(word) < 4) for word in words):
        return False
    if text.isdigit():
        return len(text) >= FEWEST_DIGITS
    return weight >= (FEWEST_LETTERS if len(words) == 1 else FEWEST_IN_ALL)


def forms_of(seen: SeenIdentifier) -> Iterator[Form]:
    """Every form in which an identifier is looked for; none if it means nothing."""
    kind, text = seen.kind, spelled(seen.text)
    if kind in {"date", "birth date"}:
        yield from (Form(kind, f"={day}") for day in dates_in(text))
        return
    if kind == "uid" or UID.fullmatch(text):
        yield Form("uid", f"~{text}")
        return
    if kind == "telephone":
        digits = re.sub(r"\D", "", text).lstrip("0")
        if len(digits) >= SURE_DIGITS - 1:
            yield Form(kind, f"+{digits}")
            yield Form(kind, digits)
        return
    for words in _phrases(kind, text):
        for start in range(0, len(words), MOST_WORDS):
            some = words[start : start + MOST_WORDS]
            if means_something(some):
                yield from _spellings(kind, some)
    if kind in {"file name", "text", "private"}:
        # A name of a file often is "patient_date"; comments hold dates of birth.
        yield from (Form("date", f"={day}") for day in dates_in(text))


def _phrases(kind: str, text: str) -> Iterator[list[str]]:
    """The phrases, as words, that a value gives."""
    if kind in NAMES:
        for group in text.split("="):
            parts = [words for part in re.split(r"[\^,;]", group) if (words := words_of(part))]
            every = [word for part in parts for word in part]
            yield from (every, [word for part in reversed(parts) for word in part])
            if len(parts) > 2:
                yield from ([*parts[0], *parts[1]], [*parts[1], *parts[0]])
            if len(parts) == 1 and len(every) > 1:
                yield [every[-1], *every[:-1]]
            yield from ([word] for word in every)
            if DENSE.search(group):
                yield ["".join(every)]
    elif kind in NUMBERS:
        words = words_of(text)
        whole = "".join(words)
        yield words
        yield [whole]
        yield SEAM.sub(" ", whole).split()
        digits = re.sub(r"\D", "", whole)
        if len(digits) >= SURE_DIGITS:
            yield [digits]
    elif kind == "file name":
        words = words_of(text)
        if len(words) > 1 or len(text) >= INSIDE_MIXED:
            yield words
        yield from ([w] for w in words if len(w) >= FEWEST_DIGITS and any(map(str.isdigit, w)))
    elif kind == "address":
        parts = [words_of(part) for part in [text, *re.split(r"[\^,;\n\\]", text)]]
        yield from (words for words in parts if len(words) > 1)
    elif kind == "institution":
        yield words_of(text)
    else:
        for line in text.splitlines():
            words = words_of(line)
            if len(words) > 1 and sum(map(len, words)) >= INSIDE_LETTERS:
                yield words


def _spellings(kind: str, words: list[str]) -> Iterator[Form]:
    """A phrase in each of its spellings."""
    spellings = [variants(word) for word in words]
    every = [[sorted(each)[min(place, len(each) - 1)] for each in spellings] for place in range(3)]
    for chosen in [words, *every]:
        yield Form(kind, " ".join(chosen))
        if len(chosen) > 1:
            yield Form(FIRST_WORD, f"^{chosen[0]}")
        elif len(chosen[0]) >= INSIDE_MIXED:
            yield Form(FIRST_LETTERS, f"<{chosen[0][:INSIDE_MIXED]}")


def digest_key(secret: bytes) -> bytes:
    """Key under which identifiers are remembered."""
    return keyed_digest(secret, "identifier")


def remember(session: Session, secret: bytes, seen: Iterable[SeenIdentifier]) -> None:
    """Keep keyed digests of identifiers; the identifiers themselves are not kept.

    The same identifiers in any order, any number of times, give the same table.

    Parameters
    ----------
    session : Session
        Of the catalogue; the caller commits.
    secret : bytes
        The site's.
    seen : iterable of SeenIdentifier
        What one study's files held.
    """
    key = digest_key(secret)
    rows: dict[str, tuple[str, int, int]] = {}
    for form in {form for one in seen for form in _cached_forms(one)}:
        digest = hmac.digest(key, form.text.encode(), "sha256").hex()
        # Two kinds may share a text; which is kept must not depend on what came first.
        kind = _telling(form.kind, rows[digest][0]) if digest in rows else form.kind
        rows[digest] = (kind, len(form.text), form.words)
    values = [
        {"digest": digest, "kind": kind, "length": length, "words": words}
        for digest, (kind, length, words) in sorted(rows.items())
    ]
    for start in range(0, len(values), ROWS_PER_INSERT):
        new = insert(Identifier)
        old, given = Identifier.kind, new.excluded.kind
        kept = case(
            (old == FILE_NAME, given), (given == FILE_NAME, old), else_=func.min(old, given)
        )
        session.execute(
            new.on_conflict_do_update(index_elements=["digest"], set_={"kind": kept}),
            values[start : start + ROWS_PER_INSERT],
        )


def _telling(one: str, other: str) -> str:
    """The kind that says more; the first by name, if both do."""
    return min(one, other, key=lambda kind: (kind == FILE_NAME, kind))


@lru_cache(maxsize=4096)
def _cached_forms(seen: SeenIdentifier) -> frozenset[Form]:
    """Forms of an identifier: names of physicians and hospitals come with every study."""
    return frozenset(forms_of(seen))


class Remembered:
    """The identifiers of a site, as digests, and how to find them in a text."""

    def __init__(self, session: Session, secret: bytes) -> None:
        self._key = digest_key(secret)
        self._kinds: dict[bytes, str] = {}
        self._lengths: dict[int, set[int]] = defaultdict(set)
        for digest, kind, length, words in session.execute(
            select(Identifier.digest, Identifier.kind, Identifier.length, Identifier.words)
        ):
            self._kinds[bytes.fromhex(digest)] = kind
            self._lengths[words].add(length)
        self._tried: dict[str, str | None] = {}

    def __len__(self) -> int:
        """Number of forms that are looked for."""
        return sum(self.by_kind().values())

    def by_kind(self) -> dict[str, int]:
        """Number of forms by kind."""
        counts: dict[str, int] = defaultdict(int)
        for kind in self._kinds.values():
            if kind not in BEGINNINGS:
                counts[kind] += 1
        return dict(sorted(counts.items()))

    def forget_days(self, first: date, last: date) -> int:
        """Stop looking for days on which the site itself was at work; return how many."""
        forgotten = 0
        for number in range((last - first).days + 1):
            day = f"={first + timedelta(days=number):%Y%m%d}"
            forgotten += self._kinds.pop(self._digest(day), None) is not None
        self._tried.clear()
        return forgotten

    def forget_words(self, text: str) -> None:
        """Stop looking for what the site is called itself."""
        words = words_of(text)
        for form in {" ".join(words), *words}:
            self._kinds.pop(self._digest(form), None)
        self._tried.clear()

    def kinds_in(self, text: str) -> set[str]:
        """Kinds of the identifiers that stand in a text, in any of their forms."""
        if "\x00" in text:  # no phrase goes beyond it
            return set().union(*map(self.kinds_in, text.split("\x00")))
        if not self._kinds or not text:
            return set()
        found: set[str | None] = set()
        folded = spelled(text)
        tokens = [(match.group(), match.start()) for match in WORD.finditer(folded)]
        for token, start in tokens:
            kind = self._single(token)
            if kind is not None and _whole(folded, token, start):
                found.add(kind)
        found |= self._inside(text)
        found |= self._phrases([token for token, _ in tokens])
        if any(map(str.isdigit, folded)):
            found |= {self._kind(f"={day}") for day in dates_in(folded)}
            found |= {self._kind(f"~{match}") for match in UID.findall(folded)}
            numbers = (re.sub(r"\D", "", match) for match in TELEPHONE.findall(folded))
            found |= {self._kind(f"+{number.lstrip('0')}") for number in numbers}
        return {kind for kind in found if kind is not None}

    def _digest(self, form: str) -> bytes:
        return hmac.digest(self._key, form.encode("utf-8", "replace"), "sha256")

    def _kind(self, form: str) -> str | None:
        """Kind of a form, None if nobody has it."""
        try:
            return self._tried[form]
        except KeyError:
            if len(self._tried) > MOST_TRIED:
                self._tried.clear()
            kind = self._tried[form] = self._kinds.get(self._digest(form))
            return kind

    def _single(self, token: str) -> str | None:
        return self._kind(token) if len(token) in self._lengths[1] else None

    def _inside(self, text: str) -> set[str | None]:
        """Look into words that are several things written together."""
        found: set[str | None] = set()
        lengths = sorted(self._lengths[1])
        for token in set(WORD.findall(unicodedata.normalize("NFKC", text))):
            folded = token.casefold()
            if len(token) <= FEWEST_LETTERS or folded.isdigit() or HEXADECIMAL.fullmatch(folded):
                continue
            parts = [part.casefold() for part in SEAM.split(token)]
            if len(parts) > 1:
                found |= {self._single(part) for part in parts if not _short_number(part)}
                found |= self._phrases(parts)
            dense = DENSE.search(folded) is not None
            mixed = any(map(str.isdigit, folded))
            fewest = 1 if dense else INSIDE_MIXED if mixed else INSIDE_LETTERS
            for start in range(len(folded) - fewest + 1):
                beginning = f"<{folded[start : start + INSIDE_MIXED]}"
                if not dense and self._kind(beginning) is None:
                    continue
                for length in lengths[bisect_left(lengths, fewest) :]:
                    part = folded[start : start + length]
                    if len(part) < length or length == len(folded):
                        break
                    if dense or not (
                        part.isdigit() or (part.isalpha() and length < INSIDE_LETTERS)
                    ):
                        found.add(self._kind(part))
        return found

    def _phrases(self, tokens: list[str]) -> set[str | None]:
        """Look for every phrase of as many words and letters as any identifier has."""
        found: set[str | None] = set()
        for start, token in enumerate(tokens):
            if self._kind(f"^{token}") is None:
                continue
            for words, lengths in self._lengths.items():
                phrase = " ".join(tokens[start : start + words])
                if words > 1 and start + words <= len(tokens) and len(phrase) in lengths:
                    found.add(self._kind(phrase))
        return found


def _short_number(token: str) -> bool:
    return token.isdigit() and len(token) < SURE_DIGITS


def _whole(text: str, token: str, start: int) -> bool:
    """Whether a short number stands alone and is no part of ``0.123456`` or ``123456.7``."""
    if not _short_number(token):
        return True
    end = start + len(token)
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return not (re.fullmatch(r"\d[.,:]", before) or re.fullmatch(r"[.,:]\d", after))
