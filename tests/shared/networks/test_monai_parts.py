"""MONAI's networks and Opacus's optimiser load alone; whoever wants the whole gets it, once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
import shared.networks.monai_parts as parts
from shared.training.opacus_parts import rdp
assert "monai" not in sys.modules and "opacus" not in sys.modules
assert not {"monai.transforms", "monai.data", "scipy.signal", "scipy.stats"} & set(sys.modules)

# A private step, and a plain one of each optimiser, load neither Opacus nor torch's compiler.
import torch
from shared.settings.task import OptimiserSettings
from shared.training.keyed_optimiser import KeyedDPOptimizer
from shared.training.noise import KeyStream
from shared.training.optimising import optimiser_of
for name in ("adam", "sgd"):
    weight = torch.nn.Parameter(torch.ones(3))
    plain = optimiser_of(OptimiserSettings(optimiser=name), [weight])
    private = KeyedDPOptimizer(
        plain, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=1,
        stream=KeyStream(bytes(32)),
    )
    weight.grad_sample = torch.ones(1, 3)
    private.step()
    private.zero_grad(set_to_none=True)
    plain.load_state_dict(plain.state_dict())
HEAVY = {"opacus", "scipy.stats", "sympy", "torch._dynamo", "torch.distributed.tensor"}
assert not HEAVY & set(sys.modules)

# What was loaded alone asks its package for more, and has it.
held = vars(sys.modules["monai.utils.type_conversion"])["monai"]
assert "data" not in vars(held) and held.data.MetaTensor
assert held is sys.modules["monai"]

from shared.networks.monai_parts import RandAffine, equalize_hist
assert not HEAVY & set(sys.modules)
import monai, monai.networks.nets, monai.transforms
assert RandAffine is monai.transforms.RandAffine
assert parts.UNet is monai.networks.nets.UNet and parts.ResNet is monai.networks.nets.ResNet
assert parts.DenseNet is monai.networks.nets.DenseNet
assert monai.networks.blocks.ADN and monai.apps.utils and monai.__version__
for name in ("Unknown", "__path__"):
    assert not hasattr(parts, name)

from opacus.accountants.analysis import rdp as theirs
assert theirs is rdp
from opacus.optimizers import DPOptimizer
assert issubclass(KeyedDPOptimizer, DPOptimizer)
"""


def test_the_parts_load_alone_and_are_those_of_the_whole() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
