"""Versions with a passport that a coordinator's key signed, for tests that train nothing."""

from __future__ import annotations

from pathlib import Path

from shared.audit.chain import NOTHING, Head
from shared.audit.keys import SigningKey, make_key
from shared.protocol.passport import FILE, PASSPORT, Passport
from shared.settings.files import StrategySettings
from shared.settings.task import TaskSettings
from shared.training.weights import Arrays, Weights, digest_arrays, save_weights

RUN = "run-1"


def coordinator(folder: Path) -> SigningKey:
    """A coordinator's key, made in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return make_key(folder / "coordinator.key")


def signed_version(
    folder: Path, settings: TaskSettings, arrays: Arrays, key: SigningKey, run: str = RUN
) -> None:
    """Write weights and their passport as `osteofed server export` does; no round was run."""
    task, digest = settings.task, digest_arrays(arrays)
    folder.mkdir(parents=True, exist_ok=True)
    draft = Passport(
        run=run, task=task, digest=digest, start=digest, start_exact=digest, settings=settings,
        strategy=StrategySettings(), most_patients=100, rounds=[], coordinator=key.public,
        head=Head(line=0, digest=NOTHING), signature="",
    )  # fmt: skip
    signed = draft.model_copy(update={"signature": key.sign(PASSPORT, draft.content())})
    save_weights(folder / f"{task}.safetensors", Weights(settings, arrays, f"federated run {run}"))
    (folder / f"{task}.{FILE}").write_text(signed.model_dump_json())
