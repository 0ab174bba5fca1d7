"""A hospital under plain Flower."""

import warnings

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .task import load_samples, make_network, test, train

warnings.filterwarnings("ignore", category=UserWarning)
app = ClientApp()


def received(message: Message) -> torch.nn.Module:
    """Make the network with the weights received."""
    torch.set_num_threads(1)
    network = make_network()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return network


def hospital(context: Context) -> str:
    """Say which hospital this node is."""
    names = str(context.run_config["names"]).split(",")
    return names[int(context.node_config["partition-id"])]


@app.train()
def train_round(message: Message, context: Context) -> Message:
    """Train privately on the training patients."""
    config, network = context.run_config, received(message)
    samples = load_samples(str(config["samples"]), hospital(context), "train")
    round_number = int(message.content["config"]["server-round"])
    node = int(context.node_config["partition-id"])
    torch.manual_seed(1000 * int(config["seed"]) + 10 * round_number + node)
    loss = train(
        network,
        samples,
        steps=int(config["steps"]),
        sample_rate=float(config["sample-rate"]),
        noise=float(config["noise"]),
        clip=float(config["clip"]),
        rate=float(config["rate"]),
    )
    metrics = MetricRecord({"num-examples": len(samples), "train-loss": loss})
    content = RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate_round(message: Message, context: Context) -> Message:
    """Measure the model on the validation patients."""
    samples = load_samples(str(context.run_config["samples"]), hospital(context), "validation")
    loss = test(received(message), samples)
    metrics = MetricRecord({"num-examples": len(samples), "loss": loss})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
