"""The worked examples of deploy/models.md, taken from the page and served by a real worker."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from workers.fleets import running, snapshot

from gateway.errors import ModelError

PAGE = (Path(__file__).parents[2] / "deploy" / "models.md").read_text()


def example(heading: str) -> tuple[dict[str, str], list[Any], list[Any]]:
    """The files of a section by their first comments, its JSON blocks, and what it asks."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    blocks = re.findall(r"^```python\n(# (\S+)\n.*?)^```", section, re.MULTILINE | re.DOTALL)
    documents = re.findall(r"^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    asked = re.findall(r'`(\{"instances": [^`]+)`', section)
    assert blocks, heading
    return {name: code for code, name in blocks}, documents, list(map(json.loads, asked))


def test_the_pipeline_of_two_stages_answers_as_the_page_says(tmp_path: Path) -> None:
    files, _, asked = example("A pipeline of two stages")
    assert set(files) == {"src/train.py", "src/serve.py"}
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    for name, code in files.items():
        (project / name).write_text(code)
    subprocess.run([sys.executable, project / "src" / "train.py"], check=True)
    held: dict[str, str | bytes] = {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    async def story() -> None:
        async with running(tmp_path) as world:
            state = await world.settled(snapshot(tmp_path, held))
            assert state["state"] == "ready", state["reason"]
            assert state["serving"]["probed"] == "golden"
            assert state["columns"] == ("age", "power", "region")
            by_name, by_place = [await world.ask(one["instances"]) for one in asked]
            assert by_name == by_place
            assert 50 < by_name[0] < 900
            with pytest.raises(ModelError, match="must all be given"):
                await world.ask([{"age": 23, "power": None, "region": "north"}])

    asyncio.run(story())


def test_the_model_of_plain_python_answers_as_the_page_says(tmp_path: Path) -> None:
    files, (points,), (asked,) = example("A model of plain Python")

    async def story() -> None:
        async with running(tmp_path) as world:
            held: dict[str, str | bytes] = {**files, "models/points.json": points}
            state = await world.settled(snapshot(tmp_path, held))
            assert state["state"] == "ready", state["reason"]
            assert (state["columns"], state["classes"]) == (
                ("complaints", "years"),
                ("stay", "leave"),
            )
            answer = await world.submit(asked["instances"])
            assert json.loads(answer.predictions) == ["leave"]
            assert json.loads(answer.probabilities)[0][1] == pytest.approx(0.9525741268224334)
            imported = set(state["versions"])
            assert imported == {"python"}, "it needs no library"

    asyncio.run(story())
