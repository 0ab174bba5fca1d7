"""A site that does nothing: sends back what it was sent."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer with the model received."""
    content = RecordDict(
        {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 10})}
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Answer with a loss of nothing."""
    metrics = MetricRecord({"num-examples": 10, "loss": 0.0})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
