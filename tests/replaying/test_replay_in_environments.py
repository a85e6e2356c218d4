"""A row whose model had libraries of its own, computed again with these."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from gitrepo import Remote
from running import Gateway, recorded
from waiting import wait_until
from wheelhouse import Wheelhouse

from gateway.cli import main

SAYS = """
def predict(model, rows):
    import scorer
    return [scorer.NUMBER for _ in rows]
"""


def test_a_row_of_a_retired_environment_gives_the_same_answer_with_its_libraries(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """And with those of the gateway, which lack one, it says what is missing."""
    wheels = Wheelhouse(tmp_path / "wheels")
    one, two = (wheels.add("scorer", f"{n}.0", f"NUMBER = {n}") for n in (1, 2))
    remote.commit("prod", {"src/serve.py": SAYS, "requirements.txt": one})
    gateway = Gateway(
        tmp_path / "gateway",
        remote,
        {"prod": {"weight": 1, "environment": "branch"}},
        environments={"find_links": str(wheels.folder)},
    )
    gateways.append(gateway)
    gateway.start()
    answer = gateway.predict([[1]], "u").json()
    assert answer["predictions"] == [1]
    wait_until(lambda: recorded(remote, "prod"))
    assert gateway.stop() == 0
    remote.commit("prod", {"requirements.txt": two})

    def replay(*arguments: object) -> tuple[int, str]:
        words = ["replay", answer["request_id"], "--config", str(gateway.file), "--json"]
        done = CliRunner().invoke(main, [*words, *(str(one) for one in arguments)])
        [row] = json.loads(done.stdout)["rows"]
        return done.exit_code, str(row["why"] or row["computed"]["prediction"])

    assert replay() == (0, "1")
    # Settings of today need not be those that the row was answered under.
    gateway.write(branches={"prod": {"weight": 1}})
    code, why = replay()
    assert code == 1
    assert "No module named 'scorer'" in why
    assert replay("--environment", "branch") == (0, "1")
