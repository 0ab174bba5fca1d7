"""MONAI's networks and Opacus's formulas load alone; whoever wants the whole gets it, once."""

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

# What trains, and a step of each optimiser, load neither Opacus nor torch's compiler.
import torch
from shared.settings.task import OptimiserSettings
from shared.training.optimising import optimiser_of
from shared.training.local_round import train_private
for name in ("adam", "sgd"):
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = optimiser_of(OptimiserSettings(optimiser=name), [weight])
    weight.grad = torch.ones(3)
    optimiser.step()
    optimiser.zero_grad()
    optimiser.load_state_dict(optimiser.state_dict())
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
"""


def test_the_parts_load_alone_and_are_those_of_the_whole() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
