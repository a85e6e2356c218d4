"""What schemathesis finds in half a minute, which is nothing; `make schemathesis` gives it five."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Gateway
from schemathesising import findings, gateway_in


@pytest.mark.needs("st")
@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing(tmp_path: Path, gateways: list[Gateway]) -> None:
    gateway = gateway_in(tmp_path)
    gateways.append(gateway)
    gateway.start()
    # The same requests at every run: a find is a change's doing.
    code, said = findings(gateway, tmp_path, seconds=30, seed=1)
    assert code == 0, said
    assert "No issues found" in said
    assert gateway.is_ready()
    assert '"level": "error"' not in gateway.words()
