"""What ``osteofed predict`` hands on of a hospital's own settings."""

from pathlib import Path

import pytest

from shared.inference.predict import FolderResult


# typer's import of click's old names
@pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")
def test_the_command_compares_hips_with_whom_the_hospital_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer
    from typer.testing import CliRunner

    from shared.inference.cli import predict_command

    asked = []

    def predicted(*_: object, hip: str, **__: object) -> FolderResult:
        asked.append(hip)
        return FolderResult({})

    monkeypatch.setattr("shared.inference.predict.predict_folder", predicted)
    app = typer.Typer()
    app.command()(predict_command)
    site = tmp_path / "site.yaml"
    site.write_text("site: riverside\nscores: {hip: scanner}\n")
    for more in ([], ["--settings", str(site)]):
        done = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "out"), *more])
        assert done.exit_code == 0, done.output
    assert asked == ["nhanes", "scanner"]
