"""Text in a picture, read by Tesseract where it is installed."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .text_detection import LetterRow

OCR_SECONDS: Final = 20.0
OCR_HEIGHT: Final = 36
#: What OCR has to have read, and how sure it has to be, in percent.
READ: Final = re.compile(r"[^\W_]{4,}")
SURE: Final = 70.0


@cache
def tesseract_there() -> bool:
    """Whether Tesseract is installed (Debian: ``apt-get install tesseract-ocr``)."""
    return shutil.which("tesseract") is not None


def read_text(picture: bytes, *options: str) -> str | None:
    """Read the text in a picture by Tesseract; None if it does not end in time.

    Parameters
    ----------
    picture : bytes
        A PNG, JPEG or TIFF file.
    *options : str
        Of Tesseract; none = text scattered over the picture.
    """
    try:
        done = subprocess.run(
            ["tesseract", "-", "-", *(options or ("--psm", "11"))],
            input=picture,
            capture_output=True,
            timeout=OCR_SECONDS,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")


def can_be_read(unit: NDArray[np.float32], row: LetterRow) -> bool:
    """Whether a word can be read in a row, black on white and at the size that OCR is made for."""
    down, across = row.place
    height = (across.stop - across.start) if row.upwards else (down.stop - down.start)
    border = max(2, height // 3)
    part = unit[
        max(0, down.start - border) : down.stop + border,
        max(0, across.start - border) : across.stop + border,
    ]
    part = np.nan_to_num(part, nan=float(np.nanmedian(part)))
    grey = np.rint(255 * (1 - part if row.bright else part)).astype(np.uint8)
    for turn in (-1, 1) if row.upwards else (0,):
        image = Image.fromarray(np.rot90(grey, turn))
        scale = max(1.0, OCR_HEIGHT / height)
        size = (round(image.width * scale), round(image.height * scale))
        bordered = ImageOps.expand(image.resize(size, Image.Resampling.BICUBIC), 12, fill=255)
        file = io.BytesIO()
        bordered.save(file, "PNG")
        said = read_text(file.getvalue(), "--psm", "7", "tsv")
        if said is None:
            return True  # what could not be looked at is not let through
        for line in said.splitlines()[1:]:
            cells = line.split("\t")
            if len(cells) == 12 and READ.search(cells[11]) and float(cells[10]) >= SURE:
                return True
    return False
