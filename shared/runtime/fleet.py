"""The one question that needs no key: whether a coordinator answers on its public port.

A path is asked for that the fleet's interface does not have: a SuperLink that is there says
so, and where none is behind the port nginx does. Nothing is taken for a fault by either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

#: nginx hands it on like every path of the fleet's; the SuperLink answers that there is none.
QUESTION: Final = "/v1/fleet/is-anyone-there"
#: nginx answers so in the place of a SuperLink that does not.
AWAY: Final = (502, 503, 504)
#: nginx's answer to any path that is not the fleet's.
CLOSED: Final = 403


class Answered(NamedTuple):
    """What came back.

    `refusal`: in words, why a site would not be served; empty: it would be.
    `time`: the other side's clock, in seconds since 1970; None if it did not tell.
    """

    refusal: str
    time: float | None


def ask(
    host: str, port: int, authority: Path, *, by_name: bool = True, seconds: float = 3.0
) -> Answered:
    """Ask a coordinator's public port, as a site would.

    Parameters
    ----------
    host, port : str and int
        Where.
    authority : Path
        The certificate authority that must have signed the other side's certificate.
    by_name : bool
        Whether the certificate must be for `host` too.
    seconds : float
        For the connection, and for each wait.
    """
    import http.client
    import ssl
    from email.utils import parsedate_to_datetime  # `site status` needs none and is quick

    where = f"{host}:{port}"
    try:
        trusted = ssl.create_default_context(cafile=str(authority))
    except OSError as error:
        return Answered(f"{authority}: cannot be read ({error})", None)
    trusted.check_hostname = by_name
    line = http.client.HTTPSConnection(host.strip("[]"), port, timeout=seconds, context=trusted)
    try:
        line.request("POST", QUESTION, body=b"")
        reply = line.getresponse()
        told, status = reply.getheader("Date"), reply.status
    except ssl.SSLCertVerificationError as error:
        said = f"{where} does not show the pinned coordinator's certificate ({error.reason})"
        return Answered(said, None)
    except (OSError, http.client.HTTPException) as error:
        return Answered(f"{where} cannot be reached ({error})", None)
    finally:
        line.close()
    try:
        clock = None if told is None else parsedate_to_datetime(told).timestamp()
    except (TypeError, ValueError):
        clock = None
    if status in AWAY:
        return Answered(f"{where} answers, but the SuperLink behind it does not ({status})", clock)
    if status == CLOSED:
        return Answered(f"{where} answers, but serves no hospitals ({status})", clock)
    return Answered("", clock)
