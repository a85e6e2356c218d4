"""What click runs every command with, among all of them or by itself."""

from __future__ import annotations

import os
from typing import Any

FOR_ALL: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "obj": os.environ,  # of the commands that stand elsewhere than in gateway.cli
}
