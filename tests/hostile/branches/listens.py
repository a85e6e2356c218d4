"""Waits for orders."""

import socket


def predict(model, instances):
    with socket.create_server(("127.0.0.1", 0)) as server:
        return [server.getsockname()[1] for _ in instances]
