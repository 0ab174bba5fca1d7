"""The coordinator under plain Flower."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from opacus.accountants import RDPAccountant
from safetensors.torch import load_file, save_file

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds, keep the model, say what they cost."""
    config = context.run_config
    sites = len(str(config["names"]).split(","))
    rounds = int(config["rounds"])
    strategy = FedAvg(min_train_nodes=sites, min_evaluate_nodes=sites, min_available_nodes=sites)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(load_file(str(config["start"]))),
        num_rounds=rounds,
    )
    save_file(result.arrays.to_torch_state_dict(), str(config["final"]))
    accountant = RDPAccountant()
    steps = rounds * int(config["steps"])
    accountant.history = [(float(config["noise"]), float(config["sample-rate"]), steps)]
    print(f"epsilon {accountant.get_epsilon(float(config['delta'])):.3f}")  # noqa: T201
