"""Rounds that do nothing, on NVFLARE's simulator. Arguments: rounds, workspace."""

import sys
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.sim_env import SimEnv

recipe = NumpyFedAvgRecipe(
    name="nothing",
    model=np.zeros(1000, np.float32).tolist(),
    min_clients=3,
    num_rounds=int(sys.argv[1]),
    train_script=str(Path(__file__).with_name("site.py")),
)
recipe.execute(SimEnv(num_clients=3, num_threads=3, workspace_root=sys.argv[2]))
