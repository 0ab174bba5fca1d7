"""The gRPC service over a runtime, and its clients."""
