"""Which name in a certificate counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.inference.service.rights import caller
from shared.inference.service.statuses import CallRefusedError
from shared.settings.pacs import TlsSettings
from shared.settings.serve import GrpcSettings

TLS = TlsSettings(authority=Path("ca.pem"), certificate=Path("a.pem"), key=Path("a.key"))
SETTINGS = GrpcSettings(tls=TLS, peers={"scanner": ("predict",)})


def who(common: str, *alternative: str) -> str:
    """Who calls by such a certificate."""
    told = {"x509_common_name": [common.encode()]}
    if alternative:
        told["x509_subject_alternative_name"] = [one.encode() for one in alternative]
    return caller(SimpleNamespace(auth_context=lambda: told), SETTINGS, "predict")


def test_the_common_name_counts_only_where_there_is_no_alternative_name() -> None:
    assert who("scanner") == "scanner"
    assert who("whoever", "10.0.0.7", "scanner") == "scanner"
    with pytest.raises(CallRefusedError, match=r"the certificate \(printer\) may not predict"):
        who("scanner", "printer")
