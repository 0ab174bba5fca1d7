"""From a DICOM folder to files, with networks of random weights."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from shared.dicom.read import read_study_folder
from shared.dicom.verdicts import judge
from shared.errors import (
    ConfigError,
    ConfigValueError,
    InputEmptyError,
    InputMissingError,
    InputUnreadableError,
    ModelIncompatibleError,
    NoChampionError,
    PassportInvalidError,
)
from shared.findings.findings import Findings
from shared.inference import predict as module
from shared.inference import results
from shared.inference.cli import unused_files
from shared.inference.predict import predict_folder, read_study
from shared.inference.schema import Prediction
from shared.phantom.make import make_hospital
from shared.records import Modality
from shared.regions import REGION_CODES
from shared.settings.task import TaskSettings
from shared.tasks import TASKS, make_task, reporting_tasks
from shared.tasks.ct.localisation import CtLocalisation
from shared.tasks.reading import Reading
from shared.training.arrays import get_arrays
from shared.training.compute import choose_device
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, digest_arrays, load_weights, save_weights
from tests.shared.ct_samples import write_ct, write_radiograph
from tests.shared.ct_standins import lumbar_ct


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies as a Hologic scanner writes them, with masks and labels."""
    out = tmp_path_factory.mktemp("hospital") / "export"
    make_hospital(out, "hologic", 2, 5)
    return out


@pytest.fixture(scope="module")
def champions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks with weights nobody trained."""
    import torch

    folder = tmp_path_factory.mktemp("champions")
    torch.manual_seed(0)
    for name in reporting_tasks():
        settings = TaskSettings(task=name)
        arrays = get_arrays(make_task(settings).network())
        save_weights(folder / f"{name}.safetensors", Weights(settings, arrays, "random"))
    return folder


@pytest.fixture
def study(hospital: Path, tmp_path: Path) -> Path:
    """A copy of one study's folder."""
    first = sorted(hospital.glob("DICOM/*/*"))[0]
    return Path(shutil.copytree(first, tmp_path / "study"))


def test_a_study_gives_json_report_masks_and_overlays(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = predict_folder(study, out, models=champions, device="cpu")
    assert {path.name for path in out.iterdir()} == {
        "prediction.json", "report.html", "masks.npz",
        "overlay_spine_pa.png", "overlay_hip_left.png", "overlay_spine_lateral.png",
    }  # fmt: skip
    prediction = Prediction.model_validate_json((out / "prediction.json").read_text())
    assert prediction == result.predictions[out]
    assert {model.task for model in prediction.models} == {
        name for name, task in reporting_tasks().items() if Modality.DXA in task.inputs.modalities
    }
    with np.load(out / "masks.npz", allow_pickle=False) as masks:
        for image in prediction.images:
            regions = masks[image.view]
            assert regions.shape == image.shape
            assert set(np.unique(regions)) <= {0, *REGION_CODES.values()}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700  # it names a patient


def test_what_goes_back_is_written_for_its_owner_only_and_reads_as_nothing_of_a_hospital(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    formats = ("json", "seg", "sr", "sc", "pdf", "fhir", "hl7")
    result = predict_folder(study, out, models=champions, device="cpu", formats=formats)
    names = {path.name for path in out.iterdir()}
    assert {"sr.dcm", "sc_01.dcm", "report_pdf.dcm", "report.pdf", "fhir.json",
            "oru_r01.hl7", "prediction.json"} <= names  # fmt: skip
    assert "report.html" not in names
    assert result.predictions[out].report == ""
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF-")
    again = predict_folder(study, out, models=champions, device="cpu")  # and it may be replaced
    assert again.facts()["studies"]
    assert not (out / "sr.dcm").exists()


def test_the_networks_do_not_see_what_the_hospital_knows(
    study: Path, champions: Path, tmp_path: Path, hospital: Path
) -> None:
    told = predict_folder(
        study, tmp_path / "told", models=champions, labels=hospital / "labels", device="cpu"
    )
    for path in study.glob("*SEG*"):
        path.unlink()
    blind = predict_folder(study, tmp_path / "blind", models=champions, device="cpu")
    (a,), (b,) = told.predictions.values(), blind.predictions.values()
    assert a.regions == b.regions
    assert [m.standardised for m in a.measurements] == [m.standardised for m in b.measurements]
    assert [g.probabilities for g in a.grades] == [g.probabilities for g in b.grades]
    assert any(grade.reported is not None for grade in a.grades)


def test_the_same_study_gives_the_same_prediction(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        predict_folder(study, tmp_path / name, models=champions, device="cpu")
    for file in ("prediction.json", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_task_without_champion_is_not_assessed_and_the_others_read(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for name in ("dxa-segmentation", "dxa-bmd"):
        (some / f"{name}.safetensors").write_bytes((champions / f"{name}.safetensors").read_bytes())
    (prediction,) = predict_folder(
        study, tmp_path / "out", models=some, device="cpu"
    ).predictions.values()
    assert len(prediction.measurements) == 3
    [gap] = [gap for gap in prediction.not_assessed if gap.what.startswith("fractures")]
    assert gap.what == "fractures of the vertebrae T4 to L4"
    assert gap.why == "no model for it is in use (no version of vfa-fracture is champion)"
    said = next(one for one in prediction.narrative.impression if "Could not" in one)
    assert f"{gap.what}, because {gap.why}" in said


def test_a_task_without_champion_is_no_matter_of_a_study_that_it_does_not_concern(
    study: Path,
) -> None:
    """A visit has a DXA and a CT: the report of the one says nothing of the other's models."""
    [dxa] = read_study_folder(study).studies
    absent = [TASKS["ct-bmd"], TASKS["vfa-fracture"]]
    prediction, _, _ = read_study(dxa, [], absent=absent)
    without = [gap.what for gap in prediction.not_assessed if "is champion" in gap.why]
    assert without == [TASKS["vfa-fracture"].assesses]


def test_only_a_task_that_every_such_study_asks_for_is_missed(tmp_path: Path) -> None:
    write_ct(tmp_path)
    [ct] = read_study_folder(tmp_path).studies
    absent = list(reporting_tasks().values())
    prediction, _, _ = read_study(ct, [], absent=absent)
    without = {gap.what for gap in prediction.not_assessed if "is champion" in gap.why}
    named = {name for name, task in reporting_tasks().items() if task.assesses in without}
    assert named == {"ct-localisation", "ct-segmentation", "ct-bmd"}


def test_each_reporting_task_says_in_words_what_it_assesses() -> None:
    for name, task in reporting_tasks().items():
        assert task.assesses
        assert name not in task.assesses


def test_the_error_on_the_card_of_exported_weights_decides_what_is_scored(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    """From the card to JSON, text and HTML: none of them scores what the others do not."""
    folder = Path(shutil.copytree(champions, tmp_path / "exported"))
    arrays = load_weights(folder / "dxa-bmd.safetensors").arrays
    errors = dict.fromkeys(("mae_lumbar", "mae_femoral_neck", "mae_total_hip"), 0.3)
    card = {"digest": digest_arrays(arrays), "validation": {"metrics": errors}}
    (folder / "dxa-bmd.card.json").write_text(json.dumps(card))
    out = tmp_path / "out"
    (prediction,) = predict_folder(study, out, models=folder, device="cpu").predictions.values()
    assert [one.t_score for one in prediction.measurements] == [None] * 3
    assert [one.bone_class for one in prediction.conclusions if one.basis == "estimate"] == [None]
    said = prediction.narrative.impression[0]
    assert (
        "Not assessed by the model: bone density, because this version of the model is off by"
        in said
    )
    page = (out / "report.html").read_text()
    assert page.count("not assessed: the version is off by") == 3
    assert 'class="estimate"' not in page  # the graph's right axis would score it


def test_without_a_lateral_view_the_rest_is_still_read(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    for path in study.glob("LSPINE_LL*"):
        path.unlink()
    (prediction,) = predict_folder(
        study, tmp_path / "out", models=champions, device="cpu"
    ).predictions.values()
    assert prediction.grades == ()
    assert len(prediction.measurements) == 3
    assert "vertebral fractures" in {gap.what for gap in prediction.not_assessed}


@pytest.mark.parametrize(
    ("files", "left", "lost"),
    [
        ("HIP*", ["L1-L4"], "femoral neck and total hip"),
        ("LSPINE_AP*", ["femoral_neck", "total_hip"], "lumbar spine L1-L4"),
    ],
)
def test_without_one_image_the_density_that_the_other_shows_is_estimated(
    study: Path, champions: Path, tmp_path: Path, files: str, left: list[str], lost: str
) -> None:
    whole = predict_folder(study, tmp_path / "whole", models=champions, device="cpu").predictions
    for path in study.glob(files):
        path.unlink()
    (prediction,) = predict_folder(
        study, tmp_path / "out", models=champions, device="cpu"
    ).predictions.values()
    of_both = {one.region: one.standardised for one in next(iter(whole.values())).measurements}
    assert {one.region: one.standardised for one in prediction.measurements} == {
        region: of_both[region] for region in left
    }
    whys = {gap.what: gap.why for gap in prediction.not_assessed}
    assert "of which no image is assessed" in whys[f"bone density of the {lost}"]
    said = f"bone density of the {lost}".replace("-", "\u2011")  # as the report has it
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_one_bad_study_does_not_stop_the_others(
    hospital: Path, champions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = module.read_study

    def fails_once(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("Doe^Jane cannot be read")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_study", fails_once)
    result = predict_folder(hospital, tmp_path / "out", models=champions, device="cpu")
    assert len(result.predictions) == 1
    (failure,) = result.failures
    assert "Doe" not in failure.sentence
    (folder,) = result.predictions
    assert folder.parent == tmp_path / "out"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failure_leaves_nothing_half_written(
    study: Path, champions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise OSError("disk full")

    out = tmp_path / "results" / "out"
    predict_folder(study, out, models=champions, device="cpu")
    before = (out / "report.html").read_bytes()
    monkeypatch.setattr(results, "overlay_png", fails)
    with pytest.raises(OSError, match="disk full"):
        predict_folder(study, out, models=champions, device="cpu")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "report.html").read_bytes() == before


def test_wrong_use_is_one_sentence_with_its_own_code(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputMissingError, match="no such folder"):
        predict_folder(tmp_path / "nowhere", out, models=champions)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputEmptyError, match="holds no files"):
        predict_folder(tmp_path / "empty", out, models=champions)
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    with pytest.raises(InputEmptyError, match="no study could be read"):
        predict_folder(tmp_path / "empty", out, models=champions)
    write_radiograph(tmp_path / "film" / "1.dcm")
    write_ct(tmp_path / "ct")
    (tmp_path / "dxa").mkdir()
    shutil.copy(champions / "dxa-bmd.safetensors", tmp_path / "dxa")
    with pytest.raises(NoChampionError, match="xray-vertebrae: no champion"):
        predict_folder(tmp_path / "film", out, models=tmp_path / "dxa")
    with pytest.raises(NoChampionError, match="ct-localisation: no champion"):
        predict_folder(tmp_path / "ct", out, models=tmp_path / "dxa")
    for path in study.iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputUnreadableError, match="no study could be read"):
        predict_folder(study, out, models=champions)
    with pytest.raises(NoChampionError):
        predict_folder(study, out, models=tmp_path / "empty")
    assert not out.exists()


def test_a_ct_is_shown_with_the_levels_that_were_found(
    champions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = lumbar_ct(np.random.default_rng(1))
    origin, step = 100.0, volume.spacing_mm[0]
    positions = np.array([[-150.0, -150.0, origin + step * k] for k in range(len(volume.hu))])
    write_ct(tmp_path / "ct", volume.hu, positions=positions, spacing=(3.0, 3.0))
    marks = {level: volume.marked_slices[level] for level in ("L1", "L2")}

    def find(task: CtLocalisation, reading: Reading) -> Findings:
        [uid] = reading.study.volumes
        assert reading.study.volumes[uid].marked_slices == {}
        return Findings(marked_slices={uid: marks})

    monkeypatch.setattr(CtLocalisation, "find", find)
    out = tmp_path / "out"
    [prediction] = predict_folder(
        tmp_path / "ct", out, models=champions, device="cpu"
    ).predictions.values()
    [series] = prediction.series
    assert series.levels == marks
    written = json.loads((out / "prediction.json").read_text())
    assert written["series"][0]["levels"] == marks
    report = (out / "report.html").read_text()
    assert f"L1 in slice {marks['L1'] + 1} and L2 in slice {marks['L2'] + 1} of 84" in report
    assert report.count("<svg") == 2
    assert "the middles of L1 and L2 were found" in report


def test_levels_that_nobody_found_on_a_ct_are_not_assessed(champions: Path, tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    result = predict_folder(tmp_path / "ct", tmp_path / "out", models=champions, device="cpu")
    [prediction] = result.predictions.values()
    assert {gap.what for gap in prediction.not_assessed} >= {"outline of L1", "outline of L4"}


def test_a_folder_with_other_files_is_left_alone(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"a file ending in \.txt"):
        predict_folder(study, out, models=champions)
    assert (out / "thesis.txt").read_text() == "precious"


def test_weights_that_do_not_fit_are_refused(study: Path, champions: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(champions, tmp_path / "champions"))
    settings = TaskSettings(task="dxa-bmd")
    arrays = get_arrays(make_task(settings).network())
    arrays.pop(sorted(arrays)[0])
    save_weights(folder / "dxa-bmd.safetensors", Weights(settings, arrays, "cut"))
    with pytest.raises(ModelIncompatibleError, match="missing"):
        predict_folder(study, tmp_path / "out", models=folder, device="cpu")


def test_weights_of_before_are_refused(study: Path, champions: Path, tmp_path: Path) -> None:
    """One head for both images, which is how densities were read up to version 0.1."""
    folder = Path(shutil.copytree(champions, tmp_path / "champions"))
    settings = TaskSettings(task="dxa-bmd")
    arrays = get_arrays(make_task(settings).network())
    heads = [name for name in arrays if name.startswith("heads.")]
    before = {name: array for name, array in arrays.items() if name not in heads}
    before |= {
        "head.weight": np.zeros((3, 139), np.float32), "head.bias": np.zeros(3, np.float32),
    }  # fmt: skip
    save_weights(folder / "dxa-bmd.safetensors", Weights(settings, before, "0.1"))
    with pytest.raises(
        ModelIncompatibleError, match=r"dxa-bmd version .*made by another version .*promote one"
    ):
        predict_folder(study, tmp_path / "out", models=folder, device="cpu")
    path = folder / "dxa-bmd.safetensors"
    with pytest.raises(ModelIncompatibleError, match=r"made by another version .*pretrain with"):
        start_network(settings, path)
    assert not (tmp_path / "out").exists()


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigValueError, match=r"--device: 'tpu'.*must be auto, cpu or cuda"):
        choose_device("tpu")


# typer's import of click's old names
@pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")
def test_the_command_prints_pure_json(study: Path, champions: Path, tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from shared.inference.cli import predict_command

    app = typer.Typer()
    app.command()(predict_command)
    options = [str(study), "--out", str(tmp_path / "out"), "--models", str(champions)]
    done = CliRunner().invoke(app, [*options, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert Prediction.model_validate(facts["studies"][0]["prediction"])
    assert Path(facts["studies"][0]["report"]).is_file()
    spoken = CliRunner().invoke(app, [*options, "--device", "cpu"])
    assert "From the hospital's BMD, by this program's references: bone density" in " ".join(
        spoken.output.split()
    )
    assert " not used: " in spoken.output
    assert "not a medical device" in spoken.output
    assert "Where the versions were made is not verified (dxa-bmd" in " ".join(
        spoken.output.split()
    )
    limits = facts["studies"][0]["prediction"]["narrative"]["limits"]
    assert any(one.startswith("Where the versions were made is not verified") for one in limits)
    assert "(not verified)" in Path(facts["studies"][0]["report"]).read_text()
    refused = CliRunner().invoke(app, [*options, "--trust", "0" * 64])
    assert isinstance(refused.exception, PassportInvalidError)


def test_files_that_were_not_used_are_counted_by_reason_and_never_named() -> None:
    verdicts = [
        judge("Doe^Jane/Doe_Jane.dcm", "damaged"),
        judge("labels/doe.csv:2", "label_without_study"),
        judge("labels/doe.csv:3", "label_without_study"),
        *(judge(f"Doe^Jane/doe{number}.dcm", "report_page") for number in range(7)),
    ]
    first, second, third = unused_files(verdicts)
    assert first == "1 file was not used: the DICOM file is damaged or cut off"
    assert second == "2 lines of tables were not used: no study of that patient on that day"
    assert third.startswith("7 files were not used: a printed page of results")
    assert "doe" not in " ".join((first, second, third)).lower()


# typer's import of click's old names
@pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")
def test_the_commands_settings_bring_the_hospitals_diagnoses_in(
    study: Path, champions: Path, tmp_path: Path
) -> None:
    import typer
    from typer.testing import CliRunner

    from shared.inference.cli import predict_command

    app = typer.Typer()
    app.command()(predict_command)
    found = predict_folder(study, tmp_path / "first", models=champions, device="cpu")
    (known,) = found.predictions.values()
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "befunde.csv").write_text(
        f"PatNr,Tag,Befund\n{known.study.patient_id},{known.study.study_date},Osteoporosis\n"
    )
    (tmp_path / "site.yaml").write_text(
        "site: riverside\nlabels:\n  patient_id: PatNr\n  scan_date: Tag\n"
        "  image_class: Befund\n  classes: [osteoporosis]\n"
    )
    options = [str(study), "--models", str(champions), "--labels", str(tables), "--device", "cpu"]
    said = []
    for more in ([], ["--settings", str(tmp_path / "site.yaml")]):
        done = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "out"), "--json", *more])
        assert done.exit_code == 0, done.output
        conclusions = json.loads(done.stdout)["studies"][0]["prediction"]["conclusions"]
        said.append([one["diagnoses"] for one in conclusions if one["basis"] == "hospital"])
    assert not any(diagnoses for diagnoses in said[0])
    assert said[1] == [["osteoporosis"]]
