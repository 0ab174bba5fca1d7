"""Everything in a file that could be read as text: what an audit looks into.

Text as it stands, in UTF-8, UTF-16 or Latin-1; cells of SQLite databases; headers of arrays
and tensors; members, names and comments of archives; text in other binary files; what OCR
reads in pictures. `other_writings` gives a text as it reads without percent signs, escapes,
entities, base64 or hexadecimal.

Numbers look like letters now and then. In binary files a run counts as text from 12 characters
on; in shorter ones, and in arrays of numbers, only words of 6 letters and codes of 8 letters
and digits do.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import html
import io
import lzma
import re
import sqlite3
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Archives in archives.
DEEPEST: Final = 4
#: What one compressed file may unpack to, bytes; the rest is named as not searched.
LARGEST_UNPACKED: Final = 256 * 1024 * 1024
CHUNK: Final = 32 * 1024 * 1024
OVERLAP: Final = 4096
LONG_RUN: Final = 12
WORD_RUN: Final = 6
CODE_RUN: Final = 8
SQLITE: Final = b"SQLite format 3\x00"
PICTURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM", b"GIF8")
PACKED: Final = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
UNPRINTED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
BYTES_ESCAPED: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}){2,}")
BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
HEX: Final = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{2}){5,}(?![0-9a-fA-F])")
PDF_STREAM: Final = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
#: Reads the text in a picture, given as the bytes of its file.
Reader = Callable[[bytes], str | None]


@dataclass(frozen=True)
class TextPiece:
    """A text and where it stands in its file; `text` is empty where something is not readable.

    `missing` says then why.
    """

    place: str
    text: str
    missing: str = ""


def pieces_of_file(path: Path, ocr: Reader | None = None) -> Iterator[TextPiece]:
    """Give everything in a file that could be read as text.

    Parameters
    ----------
    path : Path
        The file; SQLite databases are opened read-only, their log beside them included.
    ocr : callable or None
        Reads pictures.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if head == SQLITE:
            yield from _database(path)
        file.seek(0)
        if path.stat().st_size <= 4 * CHUNK:
            yield from pieces_of(file.read(), ocr, 0, cells=head != SQLITE)
            return
        # Too large for the memory at once: no container of ours or of MLflow is.
        while chunk := file.read(CHUNK):
            yield from _binary(chunk, "", numbers=False)
            if len(chunk) == CHUNK:
                file.seek(-OVERLAP, io.SEEK_CUR)


def pieces_of(
    data: bytes, ocr: Reader | None = None, depth: int = 0, *, cells: bool = True
) -> Iterator[TextPiece]:
    """Give everything in the content of a file that could be read as text."""
    text = as_text(data)
    if text is not None:
        yield TextPiece("", text)
        return
    if data[:16] == SQLITE and cells:
        yield from _database(data)
    if data[:6] == b"\x93NUMPY":
        yield from _array(data)
        return
    header = _tensor_header(data)
    if header is not None:
        yield TextPiece("header", header.decode("utf-8", "replace"))
        yield from _binary(data[8 + len(header) :], "tensors", numbers=True)
        return
    yield from _binary(data, "", numbers=False)
    if data.startswith(PICTURES):
        yield from _picture(data, ocr)
    if depth >= DEEPEST:
        if not data.startswith(PACKED):
            return
        yield TextPiece("", "", "archives in archives, too deep")
        return
    for unpack in (_zip, _compressed, _tar, _pdf):
        yield from unpack(data, ocr, depth)


def as_text(data: bytes) -> str | None:
    """Decode what is a text as a whole; None if it is none."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            return None
    if CONTROL.search(data):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def other_writings(text: str) -> Iterator[str]:
    """Give a text, or parts of it, as they read once decoded; one level each."""
    if "%" in text:
        yield urllib.parse.unquote(text)
    if "\\" in text:
        yield ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
        for run in BYTES_ESCAPED.findall(text):
            yield bytes.fromhex(run.replace("\\x", "")).decode("utf-8", "replace")
    if "&" in text:
        yield html.unescape(text)
    decoded: list[str] = []
    for run in set(BASE64.findall(text)):
        for part in {run, *re.split(r"[/_-]", run)}:
            decoded += _printed(_from_base64(part))
    for run in set(HEX.findall(text)):
        decoded += _printed(bytes.fromhex(run))
    if decoded:
        # On lines of their own: nothing that stood apart reads as one phrase.
        yield "\n\x00\n".join(decoded)


def _from_base64(run: str) -> bytes:
    stripped = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _printed(data: bytes) -> list[str]:
    """Bytes as text in each encoding in which they are nothing but text."""
    found = []
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(text) >= 4 and not UNPRINTED.search(text):
            found.append(text)
    return found[:2]


def _database(source: Path | bytes) -> Iterator[TextPiece]:
    """Every cell of every table that is text or bytes, and the names of tables and columns."""
    try:
        if isinstance(source, bytes):
            connection = sqlite3.connect(":memory:")
            connection.deserialize(source)
        else:
            quoted = urllib.parse.quote(str(source.absolute()))
            connection = sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=10)
        with closing(connection):
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            listed = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
            yield TextPiece("schema", "\n".join(str(cell) for row in listed for cell in row))
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for (table,) in tables:
                yield from _cells(connection, str(table))
    except (sqlite3.Error, UnicodeError, TypeError) as error:
        yield TextPiece("", "", f"a database that cannot be opened ({type(error).__name__})")


def _cells(connection: sqlite3.Connection, table: str) -> Iterator[TextPiece]:
    quoted = table.replace('"', '""')
    rows = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a name cannot be bound
    columns = [description[0] for description in rows.description]
    for number, row in enumerate(rows, start=1):
        for column, cell in zip(columns, row, strict=True):
            place = f"{table}.{column}, row {number}"
            if isinstance(cell, str):
                yield TextPiece(place, cell)
            elif isinstance(cell, bytes) and cell:
                for piece in pieces_of(cell, None, DEEPEST - 1):
                    yield TextPiece(f"{place} {piece.place}".strip(), piece.text, piece.missing)


def _array(data: bytes) -> Iterator[TextPiece]:
    """Header, numbers and what follows them of a NumPy array; arrays of text as text."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read: Any = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except ValueError:
        yield from _binary(data, "", numbers=False)
        return
    body, size = file.tell(), int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    yield TextPiece("header", data[6:body].decode("latin-1"))
    if dtype.kind in "SU":
        array = np.load(io.BytesIO(data), allow_pickle=False)
        yield TextPiece("values", "\n".join(str(value) for value in array.ravel().tolist()))
    numeric = dtype.kind in "biufc"
    yield from _binary(data[body : body + size], "values", numbers=numeric)
    yield from pieces_of(data[body + size :]) if len(data) > body + size else ()


def _tensor_header(data: bytes) -> bytes | None:
    """JSON header of a safetensors file, None if it is none."""
    if len(data) < 10 or data[8:9] != b"{":
        return None
    length = int.from_bytes(data[:8], "little")
    return data[8 : 8 + length] if 2 <= length <= len(data) - 8 else None


def _binary(data: bytes, place: str, *, numbers: bool) -> Iterator[TextPiece]:
    """Runs of text in bytes: as 8-bit and UTF-8 text, and as UTF-16 in both byte orders."""
    for start in range(0, len(data), CHUNK):
        part = np.frombuffer(data[start : start + CHUNK + OVERLAP], np.uint8)
        texts = [*_runs(part, numbers=numbers)]
        for shift in (0, 1):
            pairs = part[shift : shift + (part.size - shift) // 2 * 2].reshape(-1, 2)
            for high in (0, 1):
                wide = np.where(pairs[:, high] == 0, pairs[:, 1 - high], 0)
                if np.count_nonzero(wide) >= WORD_RUN:
                    # Latin-1 as UTF-8 marks no bytes above 127, so these are told apart here.
                    texts += _runs(wide.astype(np.uint8), numbers=numbers, latin=True)
        if texts:
            yield TextPiece(place, "\n\x00\n".join(texts))


def _runs(part: NDArray[np.uint8], *, numbers: bool, latin: bool = False) -> Iterator[str]:
    """Runs that count as text (see the module)."""
    low = part | 0x20
    letters = (low >= 0x61) & (low <= 0x7A) & (part < 0x80)
    if latin:
        letters |= part >= 0xC0
    else:
        after = np.roll(part, -1)
        two = (part >= 0xC3) & (part <= 0xC5) & (after >= 0x80) & (after <= 0xBF)
        two[-1:] = False
        letters |= two | np.roll(two, 1)
    codes = letters | ((part >= 0x30) & (part <= 0x39))
    wanted = [(letters, WORD_RUN), (codes, CODE_RUN)]
    if not numbers:
        wanted.append((codes | ((part >= 0x20) & (part < 0x7F)), LONG_RUN))
    for mask, least in wanted:
        for start, end in _spans(mask, least):
            raw = part[start:end].tobytes()
            yield raw.decode("latin-1") if latin else _from_utf8(raw)


def _from_utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _spans(mask: NDArray[np.bool_], least: int) -> list[tuple[int, int]]:
    """Begin and end of the runs of at least so many."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    enough = ends - starts >= least
    return list(zip(starts[enough].tolist(), ends[enough].tolist(), strict=True))


def _picture(data: bytes, ocr: Reader | None) -> Iterator[TextPiece]:
    """What stands beside and in the pixels of a picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            beside = [f"{key} {value}" for key, value in image.info.items()]
            beside += [str(value) for value in image.getexif().values()]
    except Exception as error:  # each format has its own kinds
        yield TextPiece("", "", f"a picture that cannot be opened ({type(error).__name__})")
        return
    yield TextPiece("beside the pixels", "\n".join(beside))
    if ocr is None:
        yield TextPiece(
            "", "", "pixels of a picture: no program for OCR (apt-get install tesseract-ocr)"
        )
    else:
        said = ocr(data)
        if said is None:
            yield TextPiece("", "", "pixels of a picture: not read in time")
        else:
            yield TextPiece("in the pixels", said)


def _nested(place: str, data: bytes, ocr: Reader | None, depth: int) -> Iterator[TextPiece]:
    for piece in pieces_of(data, ocr, depth + 1):
        yield TextPiece(f"{place} {piece.place}".strip(), piece.text, piece.missing)


def _zip(data: bytes, ocr: Reader | None, depth: int) -> Iterator[TextPiece]:
    """Members of a ZIP archive; their names, comments and extra fields."""
    if not data.startswith(b"PK\x03\x04") and b"PK\x05\x06" not in data[-65_600:]:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield TextPiece("comment", archive.comment.decode("utf-8", "replace"))
            room = LARGEST_UNPACKED
            for number, member in enumerate(archive.infolist(), start=1):
                place = f"member {number}"
                yield TextPiece(f"{place} name", member.filename)
                yield from _nested(f"{place} comment", member.comment, None, DEEPEST)
                yield from _nested(f"{place} extra field", member.extra, None, DEEPEST)
                room -= member.file_size
                if room < 0:
                    yield TextPiece(place, "", "unpacks to more than is searched")
                    return
                yield from _nested(place, archive.read(member), ocr, depth)
    except Exception as error:  # zipfile and its decoders have their own kinds
        yield TextPiece("", "", f"an archive that cannot be opened ({type(error).__name__})")


def _compressed(data: bytes, ocr: Reader | None, depth: int) -> Iterator[TextPiece]:
    """Content of a file compressed by gzip, bzip2 or xz."""
    kinds: tuple[tuple[bytes, Any], ...] = (
        (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open),
    )  # fmt: skip
    for magic, opener in kinds:
        if data.startswith(magic):
            try:
                with opener(io.BytesIO(data)) as file:
                    unpacked = file.read(LARGEST_UNPACKED + 1)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                yield TextPiece(
                    "", "", f"a compressed file that is damaged ({type(error).__name__})"
                )
                return
            if len(unpacked) > LARGEST_UNPACKED:
                yield TextPiece("", "", "unpacks to more than is searched")
            yield from _nested("unpacked", unpacked[:LARGEST_UNPACKED], ocr, depth)


def _tar(data: bytes, ocr: Reader | None, depth: int) -> Iterator[TextPiece]:
    """Names and members of a tar archive."""
    if data[257:262] != b"ustar":
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for number, member in enumerate(archive, start=1):
                yield TextPiece(f"member {number} name", f"{member.name}\n{member.uname}")
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield from _nested(f"member {number}", file.read(), ocr, depth)
    except (tarfile.TarError, OSError) as error:
        yield TextPiece("", "", f"an archive that cannot be opened ({type(error).__name__})")


def _pdf(data: bytes, ocr: Reader | None, depth: int) -> Iterator[TextPiece]:
    """Streams of a PDF, unpacked; text drawn by the numbers of glyphs is not read."""
    if not data.startswith(b"%PDF-"):
        return
    for number, match in enumerate(PDF_STREAM.finditer(data), start=1):
        try:
            unpacked = zlib.decompressobj().decompress(match[1], LARGEST_UNPACKED)
        except zlib.error:
            continue
        yield from _nested(f"stream {number}", unpacked, ocr, depth)
