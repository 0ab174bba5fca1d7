"""The code of the proto is fresh, and the page about it names every call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.inference.proto import osteofed_pb2
from shared.inference.proto.generate import PROTO, ROOT, generate
from shared.inference.service.statuses import REASONS


def test_what_is_checked_in_is_what_the_proto_gives(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    made = generate(tmp_path)
    assert len(made) == 3
    for path in made:
        kept = (ROOT / PROTO).parent / path.name
        assert kept.read_bytes() == path.read_bytes(), (
            f"{kept}: make it anew with `python -m shared.inference.proto.generate`"
        )


def test_the_page_names_every_call_and_every_reason_with_its_status() -> None:
    page = (ROOT / "docs" / "grpc.md").read_text(encoding="utf-8")
    service = osteofed_pb2.DESCRIPTOR.services_by_name["Inference"]
    calls = [method.name for method in service.methods]
    assert len(calls) == 3
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert [name for name in calls if name not in rows] == []
    reasons = dict(re.findall(r"^\| `(\w+)` \| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert reasons == {reason: status.name for reason, status in REASONS.items()}
