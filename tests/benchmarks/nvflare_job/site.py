"""A site of NVFLARE that does nothing: sends back what it was sent."""

import nvflare.client as flare

flare.init()
while flare.is_running():
    received = flare.receive()
    flare.send(flare.FLModel(params=received.params, metrics={"accuracy": 0.0}))
