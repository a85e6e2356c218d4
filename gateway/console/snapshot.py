"""What the console shows each second: one object, made of what the rooms say of themselves.

Bounded: so many branches, so many characters. What is large has routes of its own, and the
snapshot only says when they have something new.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec

from gateway.console.words import branch_words, cut, health
from gateway.experiments.document import ContrastReadout, ExperimentReadout
from gateway.names import Branch
from gateway.timeline import Timeline
from gateway.timestamps import rfc3339
from gateway.traffic import Traffic

#: Branches that are shown, and contrasts that are told of.
MOST_BRANCHES, MOST_CONTRASTS = 100, 20
#: Of a branch's metrics/model.json.
_MOST_FIGURES, _NAME, _VALUE = 6, 40, 60


class Snapshots:
    """Makes them, from `page` (GET /branches), the read-out, the traffic and the time line."""

    def __init__(
        self,
        *,
        page: Callable[[], Awaitable[dict[str, Any]]],
        readout: Callable[[], Awaitable[ExperimentReadout | None]],
        traffic: Traffic,
        timeline: Timeline,
        closing: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._page = page
        self._readout = readout
        self._traffic = traffic
        self._timeline = timeline
        self._closing = closing
        self._clock = clock

    async def encoded(self) -> bytes:
        """As JSON on one line."""
        return msgspec.json.encode(await self.made(), enc_hook=str)

    async def made(self) -> dict[str, Any]:
        page, readout, now = await self._page(), await self._readout(), self._traffic.now()
        contrasts = [one for one in readout.contrasts if one.current] if readout else []
        shown = sorted(page["branches"].values(), key=_place)
        branches = [
            _branch(one, now.get(one["branch"]), _live(one["branch"], contrasts))
            for one in shown[:MOST_BRANCHES]
        ]
        total = now[""]
        tone, headline, sentences = health(page, branches, total, closing=self._closing())
        last = self._timeline.last_change()
        recording = page["recording"]
        return {
            "at": rfc3339(self._clock()),
            "health": {"tone": tone, "headline": headline, "sentences": sentences[:8]},
            "baseline": page["baseline"],
            "epoch": page["epoch"],
            "salt": page["salt"],
            "now": total,
            "second": {"at": round(self._traffic.newest, 1), "branches": self._traffic.second()},
            "branches": branches,
            "branches_left_out": max(0, len(shown) - MOST_BRANCHES),
            "timeline": {"newest": self._timeline.newest, "last_change": last},
            "experiment": {
                "written": readout and readout.written,
                "contrasts": [_contrast(one) for one in contrasts[:MOST_CONTRASTS]],
            },
            "waiting": recording["waiting"],
            "replicas": len(page.get("replicas", {})) or None,
        }


def _place(one: Mapping[str, Any]) -> tuple[bool, bool, float, str]:
    """The baseline first, shadows last, and the others by their share."""
    return (not one["baseline"], one["shadow"] is not None, -one["share"], one["branch"])


def _branch(
    one: Mapping[str, Any], now: Mapping[str, Any] | None, live: Mapping[str, Any]
) -> dict[str, Any]:
    tone, word, text = branch_words(one)
    serving, push = one.get("serving"), one.get("monitoring")
    order = one.get("allocation")
    accelerated = one.get("accelerated") or {}
    return {
        "name": one["branch"],
        "folder": Branch(one["branch"]).folder,
        "baseline": one["baseline"],
        "shadow": one["shadow"] and {"share": one["shadow"].get("share", 1.0)},
        "weight": one["weight"],
        "share": one["share"],
        "allocation": order and {**order, "reason": cut(order["reason"])},
        "tone": tone,
        "word": word,
        "text": text,
        "serving": serving,
        "wanted": one.get("wanted") and one["wanted"]["commit"],
        "accelerated": accelerated,
        "workers": len(one.get("workers", ())),
        "queue_rows": one.get("queue_rows", 0),
        "now": now,
        "figures": headline(one.get("model")),
        "live": live,
        "drift": one.get("drift"),
        "recorded_rows": one.get("recorded_rows", 0),
        "push": push and _push(push),
    }


def _push(push: Mapping[str, Any]) -> dict[str, Any]:
    failure = push.get("last_failure")
    return {
        "target": push.get("target"),
        "ref": push.get("ref"),
        "diverted": push.get("diverted") and cut(push["diverted"]),
        "last": push.get("last_push"),
        "failure": failure and {"ts": failure["ts"], "reason": cut(str(failure["reason"]))},
    }


def _live(branch: str, contrasts: Iterable[ContrastReadout]) -> dict[str, Any]:
    """What outcomes say of the branch so far, by metric."""
    found: dict[str, Any] = {}
    for one in contrasts:
        if branch not in (one.baseline, one.candidate) or one.shadow:
            continue
        for metric in one.metrics:
            arm = metric.baseline if branch == one.baseline else metric.candidate
            if arm.value is not None and metric.role != "guardrail":
                found.setdefault(metric.name, {"value": arm.value, "units": arm.units})
    return found


def _contrast(one: ContrastReadout) -> dict[str, Any]:
    primary = next((m for m in one.metrics if m.role == "primary"), None)
    interval = primary and (primary.relative or primary.difference)
    return {
        "candidate": one.candidate,
        "baseline": one.baseline,
        "shadow": one.shadow,
        "status": one.status,
        "reason": cut(one.reason),
        "since": one.since,
        "metric": primary and primary.name,
        "interval": interval,
        "relative": primary is not None and primary.relative is not None,
        "expected": cut(primary.expected) if primary else "",
    }


def headline(card: Any) -> list[tuple[str, Any]]:
    """A few figures of a branch's metrics/model.json: numbers first, one level deep."""
    if not isinstance(card, dict):
        return []
    numbers: list[tuple[str, Any]] = []
    texts: list[tuple[str, Any]] = []
    for name, value in card.items():
        nested = value.items() if isinstance(value, dict) else [(None, value)]
        for inner, one in nested:
            label = cut(name if inner is None else str(inner), _NAME)
            if isinstance(one, (int, float)) and not isinstance(one, bool):
                numbers.append((label, one))
            elif isinstance(one, str):
                texts.append((label, cut(one, _VALUE)))
    return [*numbers, *texts][:_MOST_FIGURES]
