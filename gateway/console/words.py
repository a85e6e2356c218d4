"""How a branch and the gateway as a whole stand, in words and as one of four tones. Pure.

`good` needs nobody, `idle` neither; `watch` wants a look during the day, `bad` at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

Tone = Literal["good", "idle", "watch", "bad"]
RANKS: dict[Tone, int] = {"good": 0, "idle": 0, "watch": 1, "bad": 2}
#: Shares of requests that nobody answered from which they want a look, now or at once.
WATCH_ERRORS, BAD_ERRORS = 0.01, 0.05

_TEXT = 240


def cut(text: str, most: int = _TEXT) -> str:
    """On one line and of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def branch_words(one: Mapping[str, Any]) -> tuple[Tone, str, str]:
    """Tone, word and sentence for a branch as GET /branches has it."""
    tone, word, text = _condition(one)
    quarantined = one.get("quarantined") is not None
    trouble = (one.get("repository") or {}).get("trouble")
    if tone == "good" and (quarantined or trouble == "content"):
        reason = one.get("reason") or "it could not be loaded"
        return "watch", "older commit", cut(f"The newest commit is not served: {reason}")
    if tone == "good" and trouble is not None:
        said = (one.get("repository") or {}).get("text")
        return "watch", "not followed", cut(f"Goes on serving, but {said}")
    return tone, word, cut(text)


def _condition(one: Mapping[str, Any]) -> tuple[Tone, str, str]:
    state, reason = one.get("state"), one.get("reason")
    why = f": {reason}" if reason else ""
    stands_in = (
        ""
        if one.get("baseline") or one.get("shadow")
        else "; the baseline answers for it meanwhile"
    )
    serious: Tone = "bad" if one.get("baseline") else "watch"
    if state == "ejected":
        ejected = one.get("ejected") or {}
        return serious, "ejected", f"Failed too often in a row{stands_in}: {ejected.get('reason')}"
    if state == "failed":
        return serious, "failed", f"Nothing of it could be loaded{stands_in}{why}"
    if state == "restarting":
        return serious, "restarting", f"Its worker ended and is replaced{stands_in}{why}"
    if state == "loading":
        return "idle", "loading", f"Its first worker is loading{stands_in}"
    if state == "absent":
        return serious, "absent", f"There is nothing to serve yet{stands_in}{why}"
    if (order := one.get("allocation")) is not None:
        return _ordered(order)
    if (shadow := one.get("shadow")) is not None:
        share = shadow.get("share", 1.0)
        return "good", "shadow", f"Gets copies of {share * 100:.3g} % of requests, answers nobody"
    if one.get("loading"):
        return "good", "reloading", "Serves; a newer commit is being loaded and probed"
    if not one.get("share"):
        return "idle", "no users", "Loaded, and gets no users: its weight is 0"
    return "good", "serving", "Loaded and answering"


def _ordered(order: Mapping[str, Any]) -> tuple[Tone, str, str]:
    state, reason = order["state"], order["reason"]
    tone: Tone = "watch" if state in ("ejected", "held") else "good"
    words = {
        "ejected": "Gets no users: a guardrail was breached",
        "held": "Its share is held where it is",
        "ramping": "On its ramp",
        "ready": "At the end of its ramp, ready to be merged",
        "adaptive": "Its share follows what is known of it",
    }
    return tone, state, f"{words.get(state, state)}: {reason}"


def health(
    page: Mapping[str, Any],
    branches: Sequence[Mapping[str, Any]],
    now: Mapping[str, Any],
    *,
    closing: bool = False,
) -> tuple[Tone, str, list[str]]:
    """Tone, headline and what is behind it, worst first, of the whole gateway.

    `page` is what GET /branches answers, `branches` as the snapshot has them, `now` the traffic.
    """
    found = sorted(_wrong(page, branches, now), key=lambda one: -RANKS[one[0]])
    if closing:
        return "watch", "Shutting down", ["Requests in flight are finished, new ones go elsewhere."]
    sentences = [cut(text) for _, text in found]
    worst: Tone = found[0][0] if found else "good"
    headline = {"good": "Healthy", "watch": "Needs a look", "bad": "Needs you now"}[worst]
    return worst, headline, sentences


def _wrong(
    page: Mapping[str, Any], branches: Sequence[Mapping[str, Any]], now: Mapping[str, Any]
) -> Iterator[tuple[Tone, str]]:
    for one in branches:
        if RANKS[one["tone"]]:
            yield one["tone"], f"{one['name']} — {one['word']}. {one['text']}"
    ratio = now.get("error_ratio")
    if ratio is not None and ratio >= WATCH_ERRORS:
        tone: Tone = "bad" if ratio >= BAD_ERRORS else "watch"
        yield tone, f"{ratio * 100:.2g} % of the last minute's requests got no prediction"
    yield from _around(page)
    for one in branches:
        drift = one.get("drift") or {}
        if drift.get("severity") in ("alert", "critical"):
            yield "watch", f"The rows of {one['name']} drift: {drift['severity']}"


def _around(page: Mapping[str, Any]) -> Iterator[tuple[Tone, str]]:
    """What is wrong beside the branches: recording, the repository, the configuration."""
    recording = page.get("recording") or {}
    if recording.get("dropping"):
        yield "bad", "Rows are not recorded: the journal or its disk is full"
    if recording.get("trouble"):
        yield "watch", f"Rows wait to be published: {recording['trouble']}"
    experiments = (recording.get("experiments") or {}).get("trouble")
    if experiments and experiments != recording.get("trouble"):
        yield "watch", f"Experiments are not counted: {experiments}"
    if error := (page.get("repository") or {}).get("last_error"):
        yield "watch", f"The repository cannot be reached, what is loaded goes on: {error}"
    configuration = page.get("configuration") or {}
    if configuration.get("state") == "refused":
        yield "watch", f"A changed configuration is refused: {configuration.get('reason')}"
    elif configuration.get("state") == "waiting":
        waiting = ", ".join(configuration.get("waiting_for") or {})
        yield "watch", f"A changed configuration waits for {waiting}"
    if trouble := (page.get("allocation") or {}).get("trouble"):
        yield "watch", f"The file of orders about weights {trouble}"
    if trouble := (page.get("shared") or {}).get("trouble"):
        yield "watch", f"Nothing is shared with the other replicas: {trouble}"
