"""Dies of SIGKILL on a marked row."""

import os
import signal

ROW_WISE = True


def predict(model, instances):
    for row in instances:
        if row[0] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    return [row[0] for row in instances]
