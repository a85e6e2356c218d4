"""A changed file is put in force whole, when its branches are ready, and never forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until, wait_until_async

from gateway import reload as room
from gateway.config import Config
from gateway.config.document import load_config
from gateway.metrics import Metrics
from gateway.reload import Reload
from gateway.routing import Routing
from gateway.sources import FileSource
from gateway.workers.fleet import Fleet

#: How often any keeper here has read its file.
LOOKS = [0]


class Counted(FileSource):
    """The file, how often it was looked at, and what whoever writes it has put there by a look."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.coming: list[str] = []
        self._file = path

    def content(self) -> bytes:
        LOOKS[0] += 1
        if self.coming:
            self._file.write_text(self.coming.pop(0))
        return super().content()


class Story:
    """A reload over a real file and real routing; branches are loaded when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "gateway.yaml"
        self.write(prod=1)
        self.loaded = {"prod"}
        self.decisions: list[str] = []
        self.reasons: list[str] = []
        self.applied: list[Config] = []
        self.fails = 0
        self.metrics = Metrics()
        self.routing = Routing(load_config(self.file), b"k" * 32, {})
        self.source = Counted(self.file)
        self.reload = Reload(
            self.source,
            routing=self.routing,
            fleet=cast(Fleet, self),
            metrics=self.metrics,
            prepare=self._prepare,
            put_in_force=self.routing.apply,
            applied=self._applied,
            decided=self._decided,
            trouble=lambda branch: None,
        )

    def write(self, **branches_or_weights: Any) -> None:
        # At once: the keeper looks in another thread.
        beside = self.file.with_suffix(".new")
        beside.write_text(self.text(**branches_or_weights))
        beside.replace(self.file)

    @staticmethod
    def text(**branches_or_weights: Any) -> str:
        branches = {
            name: given if isinstance(given, dict) else {"weight": given}
            for name, given in branches_or_weights.items()
        }
        return json.dumps({"repository": "/r", "baseline": "prod", "branches": branches})

    def slot(self, branch: str) -> Any:
        serving = {"commit": "c" * 40} if branch in self.loaded else None
        return SimpleNamespace(state={"serving": serving, "reason": None, "state": "loading"})

    def _decided(self, decision: str, reason: str, place: object) -> None:
        self.decisions.append(decision)
        self.reasons.append(reason)

    async def _prepare(self, config: Config) -> None:
        pass

    async def _applied(self, config: Config) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError(28, "No space left on device")
        self.applied.append(config)

    @property
    def weights(self) -> dict[str, float]:
        return {str(name): weight for name, weight in self.routing.config.weights.items()}


def tell(tmp_path: Path, body: Callable[[Story], Awaitable[None]], *, looked: bool = True) -> Story:
    """Run `body` beside the keeper, which looks often; once it has `looked`."""
    story = Story(tmp_path)

    async def run() -> None:
        before = LOOKS[0]
        task = asyncio.create_task(story.reload.run())
        try:
            if looked:
                await wait_until_async(lambda: LOOKS[0] > before + 1)
            await body(story)
        finally:
            assert not task.done() or task.exception() is None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return story


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOOK_EVERY", 0.01)


def test_a_branch_that_ramps_is_waited_for_without_a_weight(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=1, exp={"ramp": {"steps": [50]}})
        await wait_until_async(lambda: story.reload.status()["state"] == "waiting")
        assert story.reload.status()["waiting_for"] == {"exp": "not loaded yet"}
        assert story.weights == {"prod": 1}
        story.loaded.add("exp")
        await wait_until_async(lambda: story.decisions == ["config_applied"])

    story = tell(tmp_path, body)
    assert story.weights == {"prod": 1, "exp": 1}
    assert story.reasons == ["weights prod 1 became prod 1, exp ramp to 50%"]


def test_a_file_changed_while_the_gateway_started_is_seen(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=2)  # before the keeper has looked for the first time
        await wait_until_async(lambda: story.weights == {"prod": 2})

    tell(tmp_path, body, looked=False)


def test_a_file_that_is_being_written_is_taken_once_it_stands(tmp_path: Path) -> None:
    """Else its half would be refused, and that decision would stand in git for ever."""

    async def body(story: Story) -> None:
        whole = story.text(prod=2)
        story.source.coming = ["", whole[:30], whole]
        await wait_until_async(lambda: story.weights == {"prod": 2})
        await wait_until_async(lambda: story.decisions != [])

    story = tell(tmp_path, body)
    assert story.decisions == ["config_applied"]


def test_a_ramp_waits_for_its_branch_as_a_weight_does(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=1, exp={"ramp": {"steps": [2, 50]}})
        await wait_until_async(lambda: story.reload.status()["state"] == "waiting")
        story.loaded.add("exp")
        await wait_until_async(lambda: story.reload.status()["state"] == "in_force")
        assert story.reasons == ["weights prod 1 became prod 1, exp ramp to 50%"]

    tell(tmp_path, body)


def test_a_weight_waits_for_its_branch_and_then_counts_once(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=1, exp=1)
        await wait_until_async(lambda: story.reload.status()["state"] == "waiting")
        assert story.weights == {"prod": 1}
        story.loaded.add("exp")
        await wait_until_async(lambda: story.reload.status()["state"] == "in_force")
        assert story.weights == {"prod": 1, "exp": 1}

    story = tell(tmp_path, body)
    assert story.decisions == ["config_applied"]


def test_a_shadow_is_not_waited_for_and_the_decision_names_it(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=1, dev={"shadow": True})
        await wait_until_async(lambda: bool(story.decisions))
        story.loaded.add("dev")
        story.write(prod=1, dev=2)
        await wait_until_async(lambda: len(story.decisions) == 2)

    story = tell(tmp_path, body)
    assert story.reasons == [
        "weights prod 1 became prod 1, dev shadow",
        "weights prod 1, dev shadow became prod 1, dev 2",
    ]


def test_a_newer_file_wins_over_one_that_waits(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=1, exp=1)
        await wait_until_async(lambda: story.reload.status()["state"] == "waiting")
        story.write(prod=3)
        await wait_until_async(lambda: story.weights == {"prod": 3})
        story.loaded.add("exp")

    story = tell(tmp_path, body)
    assert story.weights == {"prod": 3}


def test_a_bad_file_after_one_that_waits_leaves_the_one_in_force(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.write(prod=1, exp=1)
        await wait_until_async(lambda: story.reload.status()["state"] == "waiting")
        story.file.write_text("branches: [")
        await wait_until_async(lambda: story.reload.status()["state"] == "refused")
        story.loaded.add("exp")
        story.write(prod=1)
        await wait_until_async(lambda: story.reload.status()["state"] == "in_force")

    story = tell(tmp_path, body)
    assert story.weights == {"prod": 1}
    assert story.decisions == ["config_refused"]


def test_a_file_that_goes_away_and_comes_back_harms_nothing(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        text = story.file.read_text()
        story.file.unlink()
        await wait_until_async(lambda: story.reload.status()["state"] == "refused")
        story.file.write_text(text)
        await wait_until_async(lambda: story.reload.status()["state"] == "in_force")

    assert tell(tmp_path, body).weights == {"prod": 1}


def test_what_the_disk_refused_is_finished_when_it_can_be(tmp_path: Path) -> None:
    async def body(story: Story) -> None:
        story.fails = 2
        story.write(prod=2)
        await wait_until_async(lambda: bool(story.decisions))
        assert [config.weights for config in story.applied][-1] == {"prod": 2}

    assert tell(tmp_path, body).decisions == ["config_applied"]


def test_a_changed_model_is_another_fingerprint_from_its_first_answer_on(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """With the remote away the new model's content cannot be told apart: the old one goes on."""
    serve = (
        "import pathlib\ndef predict(model, instances):\n    return [model for _ in instances]\n"
    )
    files: dict[str, bytes | str | None] = {"src/serve.py": serve}
    for name in ("a", "b"):
        files[f"models/{name}.pkl"] = pickled(name)
    remote.commit("prod", files)
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1, "model": "models/a.pkl"}})
    gateways.append(gateway)
    gateway.start()
    before = gateway.branch("prod")["serving"]["fingerprint"]
    assert gateway.predict().json()["predictions"] == ["a"]
    remote.path.rename(remote.path.with_name("away.git"))
    changes = gateway.metric('gateway_config_changes_total{result="applied"}')
    gateway.write(branches={"prod": {"weight": 1, "model": "models/b.pkl"}})
    wait_until(
        lambda: (
            gateway.metric('gateway_config_changes_total{result="applied"}') > changes
            or gateway.get("/branches").json()["configuration"]["state"] == "waiting"
        )
    )
    wait_until(lambda: not gateway.branch("prod")["loading"])
    model = gateway.predict().json()["predictions"][0]
    now = gateway.branch("prod")["serving"]["fingerprint"]
    assert (model == "a") == (now == before)


def pickled(value: object) -> bytes:
    import pickle

    return pickle.dumps(value)


def test_a_branch_taken_out_leaves_no_series_behind(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("new"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    assert gateway.metric('gateway_branch_weight_ratio{branch="exp"}') == 0.5
    gateway.write(branches={"prod": {"weight": 1}})
    wait_until(lambda: gateway.get("/branches/exp").status_code == 404)
    wait_until(lambda: 'branch="exp"' not in gateway.get("/metrics").text)
    assert gateway.metric('gateway_branch_weight_ratio{branch="prod"}') == 1
