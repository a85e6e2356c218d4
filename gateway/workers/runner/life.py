"""A worker's life: hello, wait for what to load, load it, answer frames until the parent is gone.

A spare is told first what to import while it waits. Nothing heavy is imported before the hello.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from . import confinement, formats, frames, isolation, logs, memory, source, texts, turns, versions
from .channel import Channel
from .confinement import kernel
from .confinement.attempts import Attempts
from .own import Own
from .warmth import Warmth


class Served(Protocol):
    """What answers frames, and how it is announced."""

    @property
    def kind(self) -> str: ...
    @property
    def columns(self) -> Sequence[str] | None: ...
    @property
    def classes(self) -> list[Any] | None: ...
    @property
    def together(self) -> bool: ...
    @property
    def form(self) -> str | None:
        """The faster form of a model that answers in its place."""

    @property
    def why(self) -> str:
        """Why that, or why none does."""

    def answer(self, payloads: Sequence[bytes], deadlines: Sequence[float]) -> list[frames.Reply]:
        """One reply for each payload, in order; never raises."""


def live(fd: int) -> None:
    channel = Channel(fd)
    isolation.isolate()
    isolation.hide_house()
    texts.quicken()
    warmth = Warmth()
    _say(channel, b"H", {"pid": os.getpid(), "python": platform.python_version()})
    message = channel.receive()
    if message is not None and message[:1] == b"W":
        message = _wait(channel, warmth, texts.decode(message[1:])["modules"])
    if message is None:
        return
    loaded = _load(channel, texts.decode(message[1:]), warmth)
    if loaded is None:
        return
    served, attempts = loaded
    while (message := channel.receive()) is not None:
        replies = turns.together(served.answer, *frames.requests(message))
        channel.send(frames.answers(replies))
        attempts.look_at(replies)
    # Threads and exit handlers of the branch must not keep a retired worker alive.
    sys.stderr.flush()
    os._exit(0)


def _say(channel: Channel, kind: bytes, content: dict[str, Any]) -> None:
    # Branch code may raise or log any text, also one that has no UTF-8 form.
    sendable = {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in content.items()
    }
    channel.send((kind, texts.encode(sendable)))


def _wait(channel: Channel, warmth: Warmth, modules: Sequence[str]) -> bytes | None:
    """A spare's life: until there is something to load."""
    logs.hold()
    with isolation.expendable():
        _say(channel, b"W", {"broken": warmth.import_ahead(modules)})
        return channel.receive()


def _load(
    channel: Channel, order: dict[str, Any], warmth: Warmth
) -> tuple[Served, Attempts] | None:
    root = Path(order["root"])
    if obstacle := warmth.obstacle(root / "src"):
        _say(channel, b"C", {"reason": obstacle})
        return None
    if warmth.spare and (others := kernel.other_threads()):
        _say(channel, b"C", {"reason": f"what was imported started {others} threads"})
        return None
    try:
        confined = confinement.confine(confinement.Order(**order["confinement"]), root)
    except confinement.Uncontained as error:
        _say(channel, b"F", {"type": "Uncontained", "message": str(error), "traceback": ""})
        return None
    redact = frozenset(order["redact"])

    def log(record: dict[str, str]) -> None:
        if channel.usable:
            _say(channel, b"G", record)

    logs.capture(log, withhold=order["withhold"])
    attempts = _attempts(channel, confined, order)
    limit = memory.Limit(order["memory"])
    isolation.open_environment()
    texts.quicken()
    warmth.begin()
    check = versions.Check(root, order["lock"], strict=order["strict_versions"])
    try:
        served = _served(order, redact, check)
        ready = {
            "columns": served.columns,
            "classes": served.classes,
            "kind": served.kind,
            "versions": source.versions(),
            "together": served.together,
            "accelerated": {"form": served.form, "reason": served.why},
            "saved_with": check.saved.versions,
            "mismatch": check.saved.mismatch,
            "containment": confined.said,
        }
        modules = warmth.modules(root)
        meddled = warmth.meddled(root, modules)
        if meddled is not None and warmth.spare:
            _say(channel, b"C", {"reason": meddled})
            return None
        _say(channel, b"R", {**ready, "modules": [] if meddled is not None else modules})
    except BaseException as error:
        _say(
            channel,
            b"F",
            {
                "type": "MemoryError" if limit.explains(error) else type(error).__name__,
                "message": _reason(error),
                "traceback": "" if _is_plain(error) else _branchs_own(error),
            },
        )
        return None
    return served, attempts


def _attempts(channel: Channel, confined: confinement.Confined, order: dict[str, Any]) -> Attempts:
    def tell(what: str, times: int) -> None:
        if channel.usable:
            _say(channel, b"X", {"what": what, "times": times})

    attempts = Attempts(
        tell,
        readable=confined.readable,
        writable=confined.writable,
        network=order["confinement"]["network"],
        withhold=order["withhold"],
    )
    if confined.sandbox != "off":
        attempts.watch()
    return attempts


def _served(order: dict[str, Any], redact: frozenset[str], check: versions.Check) -> Served:
    rules = formats.Rules(order["formats"], tuple(order["skops_types"]))
    loaded = source.load(Path(order["root"]), order["model"], rules, check)
    if loaded.predict is not None:
        from .estimator import classes_of, names_of

        return Own(
            loaded.model,
            loaded.predict,
            row_wise=loaded.row_wise,
            columns=names_of(loaded.model),
            classes=classes_of(loaded.model),
            redact=redact,
            withhold=order["withhold"],
        )
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise source.NotLoadable(
            "numpy is not installed in this environment; without it src/serve.py needs a predict"
        ) from None
    from .accelerated import accelerated
    from .estimator import examined
    from .standard import Standard

    estimator = examined(loaded.model)
    quick, why = accelerated(
        estimator,
        Path(order["root"]),
        wanted=order["accelerate"] != "off",
        withhold=order["withhold"],
    )
    return Standard(
        estimator,
        strict=order["strict_columns"],
        redact=redact,
        withhold=order["withhold"],
        quick=quick,
        why=why,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, source.NotLoadable):
        return str(error)
    if isinstance(error, SystemExit):
        return f"src/serve.py called sys.exit({error.code!r}) while it was loaded"
    return texts.described(error, withhold=False)


def _is_plain(error: BaseException) -> bool:
    """Our own verdict, with nothing of the branch's behind it: its message is all."""
    return isinstance(error, source.NotLoadable) and error.__cause__ is None


def _branchs_own(error: BaseException) -> str:
    """The traceback from where the branch's code begins, at most its last 4,000 characters."""
    ours = str(Path(__file__).parent)
    stack = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen"))
    ]
    lines = traceback.format_list(stack) + traceback.format_exception_only(type(error), error)
    return "".join(lines)[-4000:]
