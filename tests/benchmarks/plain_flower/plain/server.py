"""Flower's own loop with a train and an evaluate exchange a round; says when each ended."""

import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds that the run's configuration asks for."""
    ticks = Path(str(context.run_config["ticks"]))
    sites = 3

    def tick(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        with ticks.open("a", encoding="ascii") as file:
            file.write(f"{number} {time.time()}\n")
        return None

    strategy = FedAvg(
        fraction_train=1.0,
        fraction_evaluate=1.0,
        min_train_nodes=sites,
        min_evaluate_nodes=sites,
        min_available_nodes=sites,
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({"w": Array(np.zeros(1000, np.float32))}),
        num_rounds=int(str(context.run_config["rounds"])),
        evaluate_fn=tick,
    )
