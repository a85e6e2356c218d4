"""Weights as the gateway changed them: a breached guardrail, a ramp, an operator's word, a bandit.

gateway.yaml's weights are never rewritten. The monitor decides `Order`s and writes them into one
file; the front puts them over the weights in force. Pure, without numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from gateway.names import Branch

#: The file's name in the state directory.
ALLOCATION_FILE = "allocation.json"
#: What branches with shares of their own get of all users together, at the very most.
MOST = 0.99

State = Literal["ejected", "held", "ramping", "ready", "adaptive"]
STATES: tuple[State, ...] = get_args(State)
Part = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Order(msgspec.Struct, frozen=True):
    """What the split is to make of one branch."""

    state: State
    #: Its share of the users, from 0 to below 1; None: as its weight says.
    share: Part | None
    #: The content that this is about: it does not hold for any other. "": whatever is served.
    fingerprint: str
    #: What gateway.yaml said of the branch then, by `configured`: edited, gateway.yaml wins again.
    configured: str
    reason: str
    since: str
    #: Of share 0: the share for which the others still leave room, so that none of their users
    #: move; None: that of its weight.
    before: Part | None = None
    #: Orders for other contents of the branch, should they be served.
    others: tuple[Order, ...] = ()


class Orders(msgspec.Struct, frozen=True):
    """The file: an order at most for each branch."""

    version: int = 1
    branches: dict[str, Order] = {}


def parse_orders(data: bytes) -> Orders:
    """ValueError says what is wrong with it."""
    found = msgspec.json.decode(data, type=Orders)
    if found.version != Orders().version:
        raise ValueError(f"version: must be {Orders().version}. Given: {found.version}")
    return found


def in_force(
    orders: Mapping[str, Order], configured: Mapping[Branch, str], serving: Mapping[Branch, str]
) -> dict[Branch, Order]:
    """The orders that are about what is configured and served now.

    One for the very content that is served comes before one for whatever is.
    """
    found: dict[Branch, Order] = {}
    for branch, said in configured.items():
        if (order := orders.get(branch)) is not None:
            holding = [one for one in (order, *order.others) if one.configured == said]
            for fingerprint in ("", serving.get(branch, "")):
                about = [one for one in holding if one.fingerprint == fingerprint]
                found |= {branch: about[0]} if about else {}
    return found


def effective(
    weights: Mapping[Branch, float],
    baseline: Branch,
    first_steps: Mapping[Branch, float],
    orders: Mapping[Branch, Order],
) -> dict[Branch, float]:
    """The weights that users are dealt by: `weights`, with the orders in force put over them.

    `first_steps` are the shares of ramps that nothing is decided of yet. Where a branch gets no
    users, the others' weights are what they were with it: only its own users move. What nobody
    else has a weight for is the baseline's.
    """
    shares, out = dict(first_steps), set()
    for branch, order in orders.items():
        if branch == baseline or branch not in weights or order.share is None:
            continue
        if order.share == 0:
            out.add(branch)
        share = order.share or order.before
        if share is not None:
            shares[branch] = share
    if (total := sum(shares.values())) > MOST:
        shares = {branch: share * MOST / total for branch, share in shares.items()}
    found = dict(weights)
    if shares:
        if not any(weight > 0 for branch, weight in found.items() if branch not in shares):
            found[baseline] = 1.0
        found = shared(found, shares)
    found |= dict.fromkeys(out, 0.0)
    if not any(weight > 0 for weight in found.values()):
        found[baseline] = 1.0
    return found


def shared(weights: Mapping[Branch, float], shares: Mapping[Branch, float]) -> dict[Branch, float]:
    """The weights with which these branches get these shares of all; others keep proportions.

    Branches of share 0 get weight 0. Raises ValueError where nothing is left for the others.
    """
    rest = sum(weight for branch, weight in weights.items() if branch not in shares)
    left = 1.0 - sum(shares.values())
    if rest <= 0 or left <= 0:
        raise ValueError(f"shares {dict(shares)} leave nothing for the other branches")
    return {
        branch: shares[branch] * rest / left if branch in shares else weight
        for branch, weight in weights.items()
    }
