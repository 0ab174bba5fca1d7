"""The service as protobuf, and the code that is made of it."""
