"""What is made by changed code is told from what was made before."""

from __future__ import annotations

from pathlib import Path

from client.app import load
from shared.runtime.libraries import code_digest, digest_of_code


def test_the_digest_of_the_code_follows_what_makes_samples(tmp_path: Path) -> None:
    seen = [digest_of_code(tmp_path)]
    for name in ("shared/a.py", "client/store/b.py", "client/node/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("1")
        seen.append(digest_of_code(tmp_path))
    assert len(set(seen)) == 3
    assert seen[-1] == seen[-2]  # a node shapes no sample


def test_the_digest_is_of_the_code_as_it_was_loaded() -> None:
    """An update while a node runs does not change what it has imported."""
    code_digest.cache_clear()
    load()
    assert code_digest.cache_info().currsize == 1
