"""Private training of bone density on NVFLARE's simulator."""

import argparse
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe.sim_env import SimEnv
from opacus.accountants import RDPAccountant


def main() -> None:
    """Run the rounds and say what they cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--sample-rate", type=float, required=True)
    parser.add_argument("--noise", type=float, required=True)
    parser.add_argument("--clip", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--delta", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--names", required=True)
    parser.add_argument("--samples", required=True)
    parser.add_argument("--start", required=True)
    parser.add_argument("--workspace", required=True)
    asked = parser.parse_args()
    names = asked.names.split(",")
    recipe = FedAvgRecipe(
        name="dxa",
        model={"class_path": "dxa_model.Network", "args": {"start": asked.start}},
        min_clients=len(names),
        num_rounds=asked.rounds,
        train_script=str(Path(__file__).with_name("dxa_client.py")),
        train_args=(
            f"--steps {asked.steps} --sample-rate {asked.sample_rate} --noise {asked.noise} "
            f"--clip {asked.clip} --rate {asked.rate} --seed {asked.seed} "
            f"--samples {asked.samples}"
        ),
        key_metric="loss",
        key_metric_mode="min",
    )
    recipe.execute(SimEnv(clients=names, workspace_root=asked.workspace))
    accountant = RDPAccountant()
    accountant.history = [(asked.noise, asked.sample_rate, asked.rounds * asked.steps)]
    print(f"epsilon {accountant.get_epsilon(asked.delta):.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
