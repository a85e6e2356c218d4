"""Calls home: the instance says where that is."""

import socket


def predict(model, instances):
    for row in instances:
        socket.create_connection(("127.0.0.1", row[0]), timeout=5).close()
    return ["connected" for _ in instances]
