"""A mount that hangs is given up, let alone while it still hangs, and used again afterwards."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from waiting import wait_until

from gateway.errors import RemoteUnavailable
from gateway.repositories.patience import Beat, Patience


class Hanging:
    """A read that comes to no end until `answer`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.begun = 0

    def work(self, beat: Beat) -> bytes:
        self.begun += 1
        return os.read(self._read, 1)

    def answer(self) -> None:
        os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.close()


def threads() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name == "folder")


def test_what_hangs_is_given_up_and_not_begun_again_until_it_ends(hanging: Hanging) -> None:
    patience = Patience(1.0, "/mnt/models")
    with pytest.raises(RemoteUnavailable, match=r"/mnt/models: looking got no further for 1 s"):
        patience.call("looking", hanging.work)
    for _ in range(3):
        with pytest.raises(RemoteUnavailable, match="looking still hangs"):
            patience.call("looking", hanging.work)
    assert hanging.begun == 1
    assert patience.call("copying", lambda _: "goes on") == "goes on"
    hanging.answer()
    wait_until(lambda: threads() == 0)
    hanging.answer()
    assert patience.call("looking", hanging.work) == b"x"


def test_what_gets_on_may_take_its_time() -> None:
    patience = Patience(1.0, "/mnt/models")

    def slow(beat: Beat) -> str:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            beat()
        return "done"

    assert patience.call("copying", slow) == "done"


def test_what_the_work_raises_is_raised(hanging: Hanging) -> None:
    def wrong(beat: Beat) -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Patience(5, "/mnt/models").call("looking", wrong)


def test_closing_lets_go_at_once_and_the_work_ends_at_its_next_step(hanging: Hanging) -> None:
    patience = Patience(3600, "/mnt/models")
    beyond = threading.Event()

    def work(beat: Beat) -> None:
        hanging.work(beat)
        beat()
        beyond.set()

    closer = threading.Thread(
        target=lambda: (wait_until(lambda: hanging.begun), patience.close())  # type: ignore[func-returns-value]
    )
    closer.start()
    with pytest.raises(RemoteUnavailable, match="is stopping"):
        patience.call("looking", work)
    closer.join()
    with pytest.raises(RemoteUnavailable, match="is stopping"):
        patience.call("copying", lambda _: None)
    hanging.answer()
    wait_until(lambda: threads() == 0)
    assert not beyond.is_set()
    patience.resume()
    assert patience.call("copying", lambda _: "again") == "again"
