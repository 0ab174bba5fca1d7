"""A registry that cannot be used is said in words, not in MLflow's."""

from __future__ import annotations

import socket

import pytest

from shared.runtime.registry_trouble import registry_trouble


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("API request to http://h/api failed with exception HTTPConnectionPool(host='h', "
         "port=1): Max retries exceeded with url: /api (Caused by ...)", "nobody answers there"),
        ("API request to endpoint /api failed with error code 404 != 200. Response body: ''",
         "is no MLflow (HTTP 404)"),
        ("API request to endpoint /api failed with error code 401 != 200.", "it refuses"),
        ("API request failed with error code 503 != 200.", "a fault of its own (HTTP 503)"),
        ("no such table: runs\n[SQL: SELECT]", "Exception: no such table: runs"),
        ("HTTPSConnectionPool(host='h', port=1): Max retries exceeded with url: /api (Caused by "
         "SSLError(SSLCertVerificationError(1, 'certificate verify failed')))", "not trusted"),
        ("unsupported URI 'http+x://user:secret@h:1'", "http+x://user:***@h:1"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_words(error: str, said: str) -> None:
    told = registry_trouble(Exception(error))
    assert said in told
    assert "\n" not in told
    assert "INTERNAL_ERROR" not in told


def test_what_mlflow_really_says_of_nobody_is_understood() -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(MlflowException) as error:
            MlflowClient(uri, uri).search_registered_models()
    assert registry_trouble(error.value).startswith("nobody answers there")
