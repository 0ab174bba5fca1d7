"""A broken file of each kind is accounted for (2,000: `make verify ONLY=reader-limits`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from client.ingest.zip_archive import ingest_archive
from client.store.site_store import init_site
from shared.settings.files import SiteConfig
from tests.verify.reader_limits import KINDS, MOST_MEGABYTES, MOST_SECONDS, write_broken

#: It forks; the tests' own process has threads.
TAKEN_IN = """
import json, tempfile
from pathlib import Path
from tests.verify.reader_limits import KINDS, taken_in
for number in range(len(KINDS)):
    with tempfile.TemporaryDirectory() as room:
        print(json.dumps(taken_in(number, Path(room))))
"""


def test_a_broken_file_of_each_kind_is_accounted_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TAKEN_IN], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["kind"] for one in found} == set(KINDS)
    for one in found:
        assert one["end"] in ("accounted", "said"), one
        assert one["seconds"] < MOST_SECONDS, one
        assert one["megabytes"] < MOST_MEGABYTES, one


def test_a_zip_that_lies_about_where_its_entry_begins_is_no_error_of_the_disk(
    tmp_path: Path,
) -> None:
    kind, name = write_broken(7, tmp_path / "given")
    assert (kind, name) == ("ZIP file", "series.zip")
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    report = ingest_archive(tmp_path / "site", tmp_path / "given" / name)
    assert "archive_damaged" in {one.reason for one in report.files}
