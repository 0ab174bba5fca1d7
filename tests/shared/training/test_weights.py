"""Weights files: what is read is what was written, and damage is noticed."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared.errors import ModelIncompatibleError, VersionMissingError
from shared.settings.task import TaskSettings
from shared.training.weights import Weights, digest_arrays, load_weights, save_weights


def weights() -> Weights:
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.asarray([np.pi], dtype=np.float32),
        "scalar": np.asarray(2.5, dtype=np.float32),
    }
    return Weights(TaskSettings(task="dxa-bmd"), arrays, "a test")


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", weights())
    read = load_weights(tmp_path / "w.safetensors")
    assert read.settings == weights().settings
    assert read.origin == "a test"
    assert digest_arrays(read.arrays) == digest_arrays(weights().arrays)
    assert read.arrays["scalar"].shape == ()


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_weights(tmp_path / name, weights())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_digest_sees_names_shapes_and_values() -> None:
    arrays = weights().arrays
    renamed = {"c": arrays["a"], "b": arrays["b"]}
    reshaped = arrays | {"b": arrays["b"].reshape(3, 2)}
    changed = arrays | {"a": np.nextafter(arrays["a"], np.float32(4))}
    digests = {digest_arrays(one) for one in (arrays, renamed, reshaped, changed)}
    assert len(digests) == 4


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, weights())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelIncompatibleError, match="do not match their digest"):
        load_weights(path)


@pytest.mark.parametrize("keep", [0, 7, 40])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, weights())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelIncompatibleError, match="not an OsteoFed weights file"):
        load_weights(path)


def test_a_safetensors_file_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(ModelIncompatibleError, match="not an OsteoFed weights file"):
        load_weights(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(VersionMissingError, match="osteofed server pretrain"):
        load_weights(tmp_path / "absent.safetensors")
