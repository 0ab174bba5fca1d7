"""Texts of settings that must look a certain way, each with the words for what it may be."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

#: What a whole study is said to be, as a table's cell and the catalogue have it.
CLASS_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,23}"

_SITE: Final = r"^[a-z0-9][a-z0-9-]{0,39}$"
_CLASS: Final = f"^{CLASS_NAME}$"
_SCANNER: Final = r"^[A-Za-z0-9][A-Za-z0-9 _.\-]{0,39}$"
_HOURS: Final = r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$"
_ENTITY: Final = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
_WEB: Final = r"^https?://[^\s@]+$"

SiteName = Annotated[str, Field(pattern=_SITE)]
ClassName = Annotated[str, Field(pattern=_CLASS)]
ScannerName = Annotated[str, Field(pattern=_SCANNER)]
#: A span of the day, by the site's own clock.
Hours = Annotated[str, Field(pattern=_HOURS)]
#: DICOM application entity title: 1 to 16 characters without backslash or control (PS3.5, AE).
ApplicationEntity = Annotated[str, Field(pattern=_ENTITY)]
WebAddress = Annotated[str, Field(pattern=_WEB)]

#: What a text may be, by the pattern that it did not match.
WORDS: Final[dict[str, str]] = {
    _SITE: (
        "must be 1 to 40 of the lower-case letters a to z, digits and hyphens, and begin with a "
        "letter or digit"
    ),
    _CLASS: (
        "must be 1 to 24 letters, digits, spaces, dots, hyphens and underscores, and begin with a "
        "letter or digit"
    ),
    _SCANNER: (
        "must be 1 to 40 letters, digits, spaces, dots, hyphens and underscores, and begin with a "
        "letter or digit"
    ),
    _HOURS: "must be a span of the day such as 20:00-06:00",
    _ENTITY: (
        "must be 1 to 16 characters without accents or backslash, and neither begin nor end with "
        "a space"
    ),
    _WEB: "must begin with http:// or https:// and hold neither a space nor an @",
}
