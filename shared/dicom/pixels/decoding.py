"""Decodes JPEG lossless, JPEG-LS and JPEG of 12 bits in a process of its own.

GDCM ends the process that it runs in on some damaged streams, and CharLS alone goes round in
circles on some that are cut off. So whatever they do costs one image, in a command that reads a
folder by itself as in a site's worker. The process is started at the first such image of a
process and stays for the others: a series of hundreds of slices starts it once.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from shared.dicom.verdicts import SetAsideError

CHILD: Final = Path(__file__).with_name("decoding_child.py")
#: A frame of 40 million pixels takes some seconds on a slow machine.
PATIENCE_SECONDS: Final = 60.0
HEAD: Final = struct.Struct("<q")
CHUNK: Final = 1 << 20


class _Child:
    """The decoding process of this process; a fork or a crash needs another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, asked: dict[str, Any], stream: bytes) -> bytes | None:
        """Values of a frame; None if it cannot be decoded."""
        with self._lock:
            process = self._running()
            try:
                return _answer(process, json.dumps(asked).encode() + b"\n" + stream)
            except BaseException:
                self._end()  # whatever is still on its way is nobody's answer
                raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():
            self._process, self._owner = None, os.getpid()  # the other is our parent's
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is the parent's
            )
        return self._process

    def end(self) -> None:
        """End the process, if it is ours."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def _answer(process: subprocess.Popen[bytes], request: bytes) -> bytes | None:
    """Send a request and read its answer, both in time."""
    if process.stdin is None or process.stdout is None:
        raise OSError("the decoding process has no pipes")
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        # It reads all that is sent before it decodes, so writing cannot wait for reading.
        _write(process, request)
        (length,) = HEAD.unpack(_read(process, HEAD.size, until))
        return None if length < 0 else _read(process, length, until)
    except (EOFError, BrokenPipeError):
        raise SetAsideError("pixels_damaged", "its decoder crashed") from None
    except TimeoutError:
        raise SetAsideError("pixels_damaged", "its decoder came to no end") from None


def _write(process: subprocess.Popen[bytes], request: bytes) -> None:
    view = memoryview(request)
    while view and process.stdin is not None:
        view = view[process.stdin.write(view[:CHUNK]) :]


def _read(process: subprocess.Popen[bytes], length: int, until: float) -> bytes:
    """Read exactly so many bytes."""
    parts = []
    while length > 0 and process.stdout is not None:
        left = until - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise TimeoutError
        part = os.read(process.stdout.fileno(), min(length, CHUNK))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


_CHILD: Final = _Child()
atexit.register(_CHILD.end)


def decode_apart(stream: bytes, syntax: str, shape: tuple[int, int], precision: int) -> bytes:
    """Decode one frame of grey values in another process.

    Parameters
    ----------
    stream : bytes
        The compressed frame, whose header says this size and precision.
    syntax : str
        Transfer syntax UID.
    shape : (int, int)
        Rows, columns.
    precision : int
        Bits of a value in the stream, at most 16.

    Returns
    -------
    bytes
        Values row by row, unsigned: of 8 bits where the precision has no more, else of 16 in
        little endian.

    Raises
    ------
    SetAsideError
        If it cannot be decoded, or the decoder crashes or comes to no end.
    """
    asked = {
        "syntax": syntax, "rows": shape[0], "columns": shape[1], "precision": precision,
        "length": len(stream),
    }  # fmt: skip
    values = _CHILD.ask(asked, stream)
    if values is None:
        raise SetAsideError("pixels_damaged", "its decoder refuses it")
    return values


__all__ = ["decode_apart"]
