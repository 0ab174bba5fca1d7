"""Why a model registry gave nothing, in words: MLflow says it in codes and pages of them."""

from __future__ import annotations

import re
from typing import Final

#: First: a failed handshake also says that retries were exceeded.
_UNTRUSTED: Final = re.compile(r"SSL|certificate", re.IGNORECASE)
_UNREACHED: Final = re.compile(
    r"Max retries exceeded|Connection refused|Name or service not known|timed out|"
    r"Failed to (resolve|establish)|Connection aborted|Remote end closed|Invalid URL",
    re.IGNORECASE,
)
_STATUS: Final = re.compile(r"(?:error code|status code:?|HTTP) (\d{3})")
FIRST: Final = 200


def registry_trouble(error: Exception) -> str:
    """Say why a registry cannot be used.

    Parameters
    ----------
    error : Exception
        Of MLflow, of its database or of the connection.

    Returns
    -------
    str
        Half a sentence: what happened, and what to do.
    """
    said = masked(str(error))
    if _UNTRUSTED.search(said):
        return (
            "its certificate is not trusted or TLS fails; check its certificate, its authority "
            "and that nobody stands between"
        )
    if _UNREACHED.search(said):
        return "nobody answers there; check that the registry runs and that its address is right"
    status = _STATUS.search(said)
    if status is None:
        first = (said.splitlines() or [""])[0][:FIRST]
        return f"{type(error).__name__}: {first}"
    number = int(status[1])
    if number in (401, 403):
        return f"it refuses (HTTP {number}); check the user and password that it asks for"
    if number < 500:
        return f"what answers there is no MLflow (HTTP {number}); check its address"
    return f"it answers with a fault of its own (HTTP {number}); look into its log"


def masked(text: str) -> str:
    """Hide passwords inside the addresses of a text."""
    return re.sub(r"(://[^/@:\s]*):[^@/\s]*@", r"\1:***@", text)
