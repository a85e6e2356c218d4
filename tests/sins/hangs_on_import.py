"""Never finishes loading."""

import threading

threading.Event().wait()
