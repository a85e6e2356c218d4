"""Writes to every descriptor a loop finds, and closes them."""

import os


def predict(model, instances):
    for fd in range(3, 256):
        try:
            os.write(fd, b"\x00\x00\x00\x05Aoops")
            os.close(fd)
        except OSError:
            continue
    return [row[0] for row in instances]
