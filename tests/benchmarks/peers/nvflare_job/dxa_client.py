"""A hospital under NVFLARE's client API."""

import argparse
import warnings

import nvflare.client as flare
import torch
from dxa_model import Network, load_samples, test, train  # type: ignore[import-not-found]

warnings.filterwarnings("ignore", category=UserWarning)


def main() -> None:
    """Answer every round: measure the model received, train it privately, send it back."""
    parser = argparse.ArgumentParser()
    for name, kind in {
        "steps": int, "sample-rate": float, "noise": float, "clip": float, "rate": float,
        "seed": int, "samples": str,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    flare.init()
    hospital = flare.get_site_name()
    samples = load_samples(asked.samples, hospital, "train")
    validation = load_samples(asked.samples, hospital, "validation")
    while flare.is_running():
        received = flare.receive()
        network = Network()
        network.load_state_dict(received.params)
        loss = test(network, validation)
        node = sum(hospital.encode())
        torch.manual_seed(1_000_000 * asked.seed + 10_000 * received.current_round + node)
        train(
            network,
            samples,
            steps=asked.steps,
            sample_rate=asked.sample_rate,
            noise=asked.noise,
            clip=asked.clip,
            rate=asked.rate,
        )
        flare.send(
            flare.FLModel(
                params=network.state_dict(),
                metrics={"loss": loss},
                meta={"NUM_STEPS_CURRENT_ROUND": len(samples)},
            )
        )


if __name__ == "__main__":
    main()
