"""schemathesis against a real gateway: every route asked in all ways that its document allows.

`python tests/schemathesising.py --seconds 300` is what `make schemathesis` runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from asdocumented import strict
from gitrepo import Remote
from running import Gateway

SETTINGS = Path(__file__).parent / "web" / "schemathesis.toml"
#: The branches take any row, so that what is refused is refused by the gateway.
SERVE = """
def load(root):
    return None
def predict(model, instances):
    rows = len(instances)
    return {"predictions": [0] * rows, "probabilities": [[0.98, 0.02]] * rows}
"""
#: As in the settings.
_SECRET = "a secret"


def gateway_in(folder: Path) -> Gateway:
    """A gateway of two branches that takes webhooks."""
    remote = Remote(folder / "project.git")
    remote.commit("prod", {"src/serve.py": SERVE})
    remote.commit("ab-test", {"README.md": "the same"}, start="prod")
    return Gateway(
        folder / "gateway",
        remote,
        {"prod": {"weight": 90}, "ab-test": {"weight": 10}},
        environ={"HOOK": _SECRET},
        webhook={"secret_env": "HOOK"},
        access={"anonymous": ["predict", "feedback", "operate", "override", "read"]},
    )


def findings(gateway: Gateway, folder: Path, seconds: int, seed: int | None) -> tuple[int, str]:
    """The exit code of `st`, 0 if it found nothing, and all that it says.

    Answers are held against the gateway's own document, with no room for fields to come.
    """
    document = folder / "openapi.json"
    document.write_text(json.dumps(strict(gateway.get("/openapi.json").json())))
    done = subprocess.run(
        [
            *("st", "--config-file", str(SETTINGS), "run", str(document), "--url", gateway.url),
            *("--max-time", str(seconds), "--continue-on-failure", "--no-color"),
            *([] if seed is None else ["--seed", str(seed)]),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * seconds + 600,
        check=False,
    )
    return done.returncode, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="schemathesis-") as name:
        gateway = gateway_in(Path(name))
        try:
            gateway.start()
            code, said = findings(gateway, Path(name), chosen.seconds, chosen.seed)
            print(said)  # noqa: T201
            alive = gateway.is_ready()
        finally:
            gateway.kill()
        if not alive:
            print(f"The gateway is not ready any more:\n{gateway.words()[-6000:]}")  # noqa: T201
        return code if alive else 1


if __name__ == "__main__":
    sys.exit(main())
