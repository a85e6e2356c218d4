"""What is remembered of a branch, as the order that the front follows. Pure, without numpy."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.experiments import ramps
from gateway.experiments.allocation import Order, State
from gateway.experiments.facts import Candidate, Ramp
from gateway.experiments.memory import BranchMemory, Climb
from gateway.timestamps import rfc3339


def order_of(one: BranchMemory, candidate: Candidate) -> Order | None:
    """None where the branch gets what gateway.yaml says.

    An ejected content that is not served now is ordered too: it must not get a single user when it
    comes back, before anybody has noticed.
    """
    ejected = {
        fingerprint: Order(
            "ejected",
            0.0,
            fingerprint,
            one.configured,
            ejection.reason,
            rfc3339(ejection.since),
            ejection.before,
        )
        for fingerprint, ejection in one.ejections.items()
    }
    present = _present(one, candidate, ejected.pop(one.serving, None))
    orders = [order for order in (present, *ejected.values()) if order is not None]
    return replace(orders[0], others=tuple(orders[1:])) if orders else None


def _present(one: BranchMemory, candidate: Candidate, ejected: Order | None) -> Order | None:
    hold = one.hold
    if hold is not None and hold.out:
        reason = _by_operator("has no users, by an operator", hold.reason)
        since = rfc3339(hold.since)
        return Order("held", 0.0, "", one.configured, reason, since, hold.share)
    if ejected is not None:
        return ejected
    if candidate.ramp is not None and one.ramp is not None:
        return _climbing(one, one.ramp, candidate.ramp)
    if hold is not None:
        reason = _by_operator("stays where it is, by an operator", hold.reason)
        return Order("held", hold.share, "", one.configured, reason, rfc3339(hold.since))
    if one.adapted is not None:
        part = one.adapted
        reason = f"{part.share * 100:.3g} % of the users by Thompson sampling, update {part.number}"
        since = rfc3339(part.since)
        return Order("adaptive", part.share, part.fingerprint, one.configured, reason, since)
    return None


def _climbing(one: BranchMemory, climb: Climb, ramp: Ramp) -> Order:
    state: State = "ramping"
    since = climb.since
    if climb.held:
        state, since = "held", climb.held_since
    elif climb.ready_since is not None:
        state, since = "ready", climb.ready_since
    share, reason = ramps.share(climb, ramp), ramps.said(climb, ramp)
    return Order(state, share, climb.fingerprint, one.configured, reason, rfc3339(since))


def _by_operator(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def share_of(one: BranchMemory, candidate: Candidate) -> float | None:
    """The share of all users that it has by itself; None: as its weight says."""
    if one.serving in one.ejections:
        return one.ejections[one.serving].before
    if candidate.ramp is not None:
        return ramps.share(one.ramp, candidate.ramp) if one.ramp is not None else None
    if one.hold is not None:
        return one.hold.share
    return one.adapted.share if one.adapted is not None else None
