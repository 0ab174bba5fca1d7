"""An audit trail that nobody can edit unnoticed: signed JSON lines, each naming the one before.

Each line holds its number (from 1), the time (UTC), who wrote it, what happened, the
digest of the line before and a signature over all of it. Beside the chain, a head file
says how many lines there are, so that cutting the end is found too. A chain is begun
once, with its party's key (`shared.audit.provisioning`): its first head, of no line, is written
before its first line, so that a chain without a head is always a broken one. Whoever
holds the private key could write the whole chain anew: that is found by the heads that
the other side has in *its* chain (`verify_chain`, `anchors`).

=============================== ==================================================
what was done to the file       what the verifier says
=============================== ==================================================
a byte of a line changed        line n: its signature is not that of its content
a line deleted, put in, swapped line n: is numbered m, or does not follow line n-1
lines cut off at the end        line n+1 is missing: the head file says there are m
the head file changed           the head's signature is not that of its content
either file, or both, deleted   no such file; nothing is appended or begun anew
half a line after a power cut   line n is half written; the next append mends it
all rewritten with the key      line n differs from what the other side was told
=============================== ==================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from shared.audit.keys import SigningKey, digest_of, verify
from shared.errors import ChainBrokenError
from shared.phrases import counted
from shared.runtime.files import OWNER_ONLY, appearing, settle
from shared.settings.base import Settings

NOTHING: Final = "0" * 64
LINE: Final = "line"
HEAD: Final = "head"


class Head(Settings):
    """How far a chain reaches: number and digest of its last line (0 and zeros: empty)."""

    line: Annotated[int, Field(ge=0)] = 0
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = NOTHING


class ChainLine(Settings):
    """One line. `digest()` is over everything, the signature too."""

    line: Annotated[int, Field(ge=1)]
    time: str
    actor: str
    event: str
    facts: dict[str, Any]
    previous: str
    signature: str

    def digest(self) -> str:
        """What the next line calls this one."""
        return digest_of(self.model_dump())

    def signed(self) -> dict[str, Any]:
        """What the signature is over."""
        return self.model_dump(exclude={"signature"})


@dataclass(frozen=True)
class Chain:
    """The chain of one party; safe for several processes.

    Parameters
    ----------
    path : Path
        The JSON lines; the head stands beside it with the suffix ``.head``.
    actor : str
        Who writes: a site's name, or ``coordinator``.
    key : SigningKey
        Signs every line.
    """

    path: Path
    actor: str
    key: SigningKey

    def append(self, event: str, **facts: Any) -> Head:
        """Write one line durably; return the new head.

        Parameters
        ----------
        event : str
            What happened, two words at most.
        **facts
            Ready for JSON, finite, never about a patient.
        """
        with self._locked() as file:
            last = self._mended(file)
            line = self._line(last, event, facts)
            file.seek(0, os.SEEK_END)
            file.write(_line_bytes(line))
            file.flush()
            os.fsync(file.fileno())
            return self._write_head(Head(line=line.line, digest=line.digest()))

    def begin(self) -> None:
        """Write the head of an empty chain, durably; a chain that was begun is left as it is.

        Only `shared.audit.provisioning` has reason to: elsewhere, a chain that is not there was
        removed.

        Raises
        ------
        ChainBrokenError
            If there are lines without a head.
        """
        with self._locked(os.O_CREAT) as file:
            if read_head(self.path, self.key.public) is not None:
                return
            if file.seek(0, os.SEEK_END):
                raise ChainBrokenError(_lost(self.path))
            self._write_head(Head(), durably=True)

    def head(self) -> Head:
        """Where the chain stands."""
        with self._locked() as file:
            return self._mended(file)

    def holds(self, head: Head) -> bool:
        """Tell whether the chain had this head once (the empty head always)."""
        if head.line == 0:
            return head.digest == NOTHING
        for number, line in enumerate(_raw_lines(self.path), start=1):
            if number == head.line:
                try:
                    return ChainLine.model_validate_json(line).digest() == head.digest
                except ValidationError:
                    return False
        return False

    def last(self, event: str) -> ChainLine | None:
        """Give the last line of an event; None if there is none.

        Raises
        ------
        ChainBrokenError
            If that line is none.
        """
        found = None
        wanted = f'"event": {json.dumps(event)}'.encode()
        for raw in _raw_lines(self.path):
            found = raw if wanted in raw else found
        if found is None:
            return None
        try:
            return ChainLine.model_validate_json(found)
        except ValidationError:
            raise ChainBrokenError(f"{self.path}: a line {event!r} is not a line") from None

    @contextlib.contextmanager
    def _locked(self, create: int = 0) -> Iterator[Any]:
        try:
            descriptor = os.open(self.path, os.O_RDWR | create, 0o600)
        except FileNotFoundError:
            raise ChainBrokenError(_lost(self.path)) from None
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _mended(self, file: Any) -> Head:
        """Find the last whole line; half a line after it (a power cut) is cut off.

        Raises
        ------
        ChainBrokenError
            If the chain is shorter than its head says, has none, or its last line is no
            line: such a chain is not continued, so that nobody's edit is buried under new
            lines.
        """
        promised = read_head(self.path, self.key.public)
        if promised is None:
            raise ChainBrokenError(_lost(self.path))
        start, raw = _last_line(file)
        if raw and not raw.endswith(b"\n"):
            file.truncate(start)
            file.flush()
            start, raw = _last_line(file)
        if not raw:
            last = Head()
        else:
            try:
                line = ChainLine.model_validate_json(raw)
            except ValidationError:
                raise ChainBrokenError(f"{self.path}: its last line is not a line") from None
            last = Head(line=line.line, digest=line.digest())
        if promised.line > last.line:
            raise ChainBrokenError(
                f"{self.path}: line {last.line + 1} is missing: the head file says there are "
                f"{promised.line}; restore the chain from your backup"
            )
        return last

    def _line(self, last: Head, event: str, facts: dict[str, Any]) -> ChainLine:
        # As a reader will find them: tuples become lists, keys become text, and half of a
        # surrogate pair, which no reader takes, a question mark.
        text = json.dumps(facts, allow_nan=False, ensure_ascii=False)
        content = {
            "line": last.line + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "actor": self.actor,
            "event": event,
            "facts": json.loads(text.encode("utf-8", "replace")),
            "previous": last.digest,
        }
        return ChainLine(**content, signature=self.key.sign(LINE, content))

    def _write_head(self, head: Head, *, durably: bool = False) -> Head:
        content = head.model_dump()
        text = _head_text(head, self.key.sign(HEAD, content))
        path = head_path(self.path)
        with appearing(path, durably=durably) as part:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
        if durably:
            settle(path.parent)
        return head


def head_path(path: Path) -> Path:
    """Where the head of a chain stands."""
    return path.with_suffix(".head")


def read_head(path: Path, public: str) -> Head | None:
    """Read the head file of a chain; None if it is missing.

    Raises
    ------
    ChainBrokenError
        If it is not what the key signed.
    """
    place = head_path(path)
    try:
        text = place.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        signature = str(content.pop("signature"))
        head = Head.model_validate(content)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ChainBrokenError(f"{place}: is not the head of a chain") from None
    if text != _head_text(head, signature):
        raise ChainBrokenError(f"{place}: is not as it was written")
    if not verify(public, HEAD, content, signature):
        raise ChainBrokenError(f"{place}: its signature is not that of its content")
    return head


@dataclass(frozen=True)
class Anchor:
    """A head of this chain that stands in somebody else's: `told` says where."""

    head: Head
    told: str


def verify_chain(path: Path, public: str, anchors: Iterable[Anchor] = ()) -> list[ChainLine]:
    """Check a chain from its first line to its last, offline.

    Parameters
    ----------
    path : Path
        The JSON lines; the head file must be beside it.
    public : str
        Public key of the party that wrote it.
    anchors : iterable of Anchor
        Heads that the other side was told.

    Returns
    -------
    list of Line
        All lines, each of them good.

    Raises
    ------
    ChainBrokenError
        Naming the file and the first bad line.
    """
    promised = read_head(path, public)
    if promised is None or not path.exists():
        raise ChainBrokenError(_lost(path))
    lines: list[ChainLine] = []
    digests = [NOTHING]
    for number, raw in enumerate(_raw_lines(path), start=1):
        line = _checked(path, number, raw, digests[-1], public)
        lines.append(line)
        digests.append(line.digest())
    if len(lines) < promised.line:
        raise ChainBrokenError(
            f"{path}: line {len(lines) + 1} is missing: the head file says there are "
            f"{counted(promised.line, 'line')}"
        )
    if promised.line and digests[promised.line] != promised.digest:
        raise ChainBrokenError(f"{path}: line {promised.line} is not the one the head file names")
    for anchor in anchors:
        reached = anchor.head.line < len(digests)
        if not reached or digests[anchor.head.line] != anchor.head.digest:
            what = "differs from" if reached else "is missing, but stands in"
            raise ChainBrokenError(
                f"{path}: line {anchor.head.line} {what} what was told to {anchor.told}"
            )
    return lines


def _lost(path: Path) -> str:
    """Say which of a chain's two files is not there, and what to do."""
    lost = [str(file) for file in (path, head_path(path)) if not file.exists()]
    return (
        f"{' and '.join(lost)}: no such file: the audit trail was cut or is lost; restore "
        f"{path.name} and {head_path(path).name} from your newest backup (a new trail is never "
        "begun in the place of an old one)"
    )


def _line_bytes(line: ChainLine) -> bytes:
    """The one way in which a line is written: not even white space can be changed."""
    return json.dumps(line.model_dump(), ensure_ascii=True).encode("ascii") + b"\n"


def _head_text(head: Head, signature: str) -> str:
    return json.dumps(head.model_dump() | {"signature": signature}) + "\n"


def tail_of(path: Path, most: int) -> list[ChainLine]:
    """Read the last lines without checking them; half a line at the end is left out."""
    found = []
    for raw in deque(_raw_lines(path), maxlen=most):
        with contextlib.suppress(ValidationError):
            found.append(ChainLine.model_validate_json(raw))
    return found


def _checked(path: Path, number: int, raw: bytes, previous: str, public: str) -> ChainLine:
    where = f"{path}: line {number}"
    if not raw.endswith(b"\n"):
        raise ChainBrokenError(f"{where} is half written")
    try:
        line = ChainLine.model_validate_json(raw)
    except ValidationError:
        raise ChainBrokenError(f"{where} is not a line of a chain") from None
    if raw != _line_bytes(line):
        raise ChainBrokenError(f"{where} is not as it was written")
    if line.line != number:
        raise ChainBrokenError(f"{where} is numbered {line.line}: a line was moved or removed")
    if line.previous != previous:
        raise ChainBrokenError(f"{where} does not follow the line before it")
    if not verify(public, LINE, line.signed(), line.signature):
        raise ChainBrokenError(f"{where}: its signature is not that of its content")
    return line


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _last_line(file: Any, block: int = 65_536) -> tuple[int, bytes]:
    """Find where the last line starts, and its bytes with its newline if it has one."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start > 0:
        step = min(block, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
        cut = tail.rfind(b"\n", 0, len(tail) - 1)
        if cut >= 0:
            return start + cut + 1, tail[cut + 1 :]
    return 0, tail
