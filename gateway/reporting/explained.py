"""Why a user gets a branch, in words for a terminal and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from gateway.config.sections import MOST_WEIGHT
from gateway.explaining import Arm, Explanation
from gateway.names import Branch, Unit
from gateway.reporting.standing import Standing
from gateway.reporting.widths import cut, fitted, plain, width, wrapped
from gateway.reporting.words import share

NARROWEST, WIDEST = 60, 100
#: How much of an id, or of a reason, is shown.
_ID, _REASON = 80, 300
#: Columns of the table besides the names.
_FIGURES = 42


@dataclass(frozen=True, slots=True)
class At:
    """What other weights would give; `found` is None for a request without an id."""

    weights: Mapping[Branch, float]
    shares: Mapping[Branch, float]
    found: Explanation | None


@dataclass(frozen=True, slots=True)
class Explained:
    """Everything there is to say of a unit; `found` is None for a request without an id."""

    unit: str
    standing: Standing
    found: Explanation | None
    #: As it stands in recorded rows, else why that is not known.
    recorded: Unit | None
    not_recorded: str | None
    at: At | None

    @property
    def moves(self) -> bool | None:
        """Whether the other weights would give it another branch; None where none are asked for."""
        if self.found is None or self.at is None or self.at.found is None:
            return None
        return self.found.winner.branch != self.at.found.winner.branch


def facts(one: Explained) -> dict[str, Any]:
    """The JSON object."""
    standing, found = one.standing, one.found
    return {
        "unit": one.unit,
        "branch": found and found.winner.branch,
        "reason": "split" if found else "no_unit",
        "said_by": standing.said_by,
        "salt": standing.split.salt,
        "baseline": standing.baseline,
        "shares": standing.split.propensities,
        "arms": found and [_arm(arm) for arm in found.arms],
        "shadows": dict(standing.shadows),
        "recorded": one.recorded and {"unit": one.recorded, "bucket": one.recorded.bucket},
        "not_recorded": one.not_recorded,
        "ramps": {name: list(steps) for name, steps in standing.ramps.items()},
        "running": _running(one),
        "at": one.at
        and {
            "weights": dict(one.at.weights),
            "shares": dict(one.at.shares),
            "branch": one.at.found and one.at.found.winner.branch,
            "moves": one.moves,
        },
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "branch": arm.branch,
        "weight": arm.weight,
        "share": arm.share,
        "u": arm.u,
        "score": arm.score,
        "wins_from": arm.wins_from,
    }


def _running(one: Explained) -> dict[str, Any] | None:
    running, found = one.standing.running, one.found
    if running is None:
        return None
    arm = found and found.winner.branch
    condition = running.branches[arm] if arm else None
    configuration = running.configuration
    return {
        "epoch": running.epoch,
        "state": condition and condition.state,
        "reason": condition and (condition.ejected or condition).reason,
        "answered_by": arm and running.answering(arm, one.standing.baseline),
        "allocation": {
            name: {
                "weight": branch.weight,
                "effective_weight": branch.deals,
                "state": branch.allocation.state,
                "reason": branch.allocation.reason,
                "since": branch.allocation.since,
            }
            for name, branch in running.branches.items()
            if branch.allocation is not None
        },
        "configuration": {
            "state": configuration.state,
            "reason": configuration.reason,
            "waiting_for": configuration.waiting_for,
        },
    }


def words(one: Explained, columns: int) -> str:
    """Paragraphs and a table, at most so wide; nothing in it acts upon a terminal."""
    columns = min(max(columns, NARROWEST), WIDEST)

    def paragraph(*sentences: str) -> list[str]:
        return [line for text in sentences for line in wrapped(plain(text), columns)]

    around = [*_ordered(one), *_answering(one), *_shadows(one), *_recorded(one)]
    if one.found is None:
        parts = [paragraph(_nobody(one)), paragraph(*_at(one)), paragraph(*around)]
    else:
        parts = [
            paragraph(f"{_quoted(one.unit)} gets {one.found.winner.branch}, {_said(one)}."),
            paragraph(_rule(one.found)),
            list(_table(one.found, columns)),
            paragraph(" ".join(_turning(one.found))),
            paragraph(*_at(one)),
            paragraph(*around),
        ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def sentences(one: Explained) -> list[str]:
    """What `words` says but for its table, sentence by sentence, for a page."""
    around = [*_ordered(one), *_answering(one), *_shadows(one), *_recorded(one)]
    if one.found is None:
        return [plain(text) for text in (_nobody(one), *around)]
    said = f"{_quoted(one.unit)} gets {one.found.winner.branch}, {_said(one)}."
    return [plain(text) for text in (said, _rule(one.found), *_turning(one.found), *around)]


def _said(one: Explained) -> str:
    by = one.standing.said_by
    return f"by {by}" if one.standing.running is None else f"by what is in force at {by}"


def _nobody(one: Explained) -> str:
    return (
        "An empty id is no id: the request's own id decides, so that each request may get another"
        f" branch, {_said(one)}: {_shares(one.standing.split.propensities)}. Such rows have the"
        " reason no_unit and no unit, and stay out of comparisons of users."
    )


def _shares(shares: Mapping[Branch, float]) -> str:
    return ", ".join(f"{arm} {share(part)}" for arm, part in shares.items() if part > 0)


def _rule(found: Explanation) -> str:
    return (
        f"A hash of the salt {_quoted(found.salt)}, the branch and the id is a number u between 0"
        " and 1, the same for ever. The branch's score is weight / -ln u, and the highest wins."
    )


def _table(found: Explanation, columns: int) -> Iterator[str]:
    longest = max(width(plain(arm.branch)) for arm in found.arms)
    size = min(max(longest, len("branch")), columns - _FIGURES)
    yield f"{fitted('branch', size)}  weight  share         u      score"
    for arm in found.arms:
        figures = f"{arm.weight:>6g}  {share(arm.share):>5}  {arm.u:.6f}  {arm.score:>9.6g}"
        wins = "  wins" if arm is found.winner else ""
        yield f"{fitted(plain(arm.branch), size)}  {figures}{wins}"


def _turning(found: Explanation) -> Iterator[str]:
    """What would have to change for this user to move."""
    winner, ways, never = found.winner, [], []
    for arm in found.others:
        if arm.wins_from is not None and arm.wins_from <= MOST_WEIGHT:
            reached = _rounded(arm.wins_from, ROUND_CEILING)
            ways.append(f"the weight of {arm.branch} reaches {reached} (now {arm.weight:g})")
        else:
            never.append(arm.branch)
    rivals = [arm.branch for arm in found.others if arm.weight > 0]
    if rivals and winner.wins_from:
        below = _rounded(winner.wins_from, ROUND_FLOOR)
        own = f"its own weight falls below {below} (now {winner.weight:g})"
        ways.append(f"{own}, which would give it to {rivals[0]}")
    if ways:
        until = ", or ".join(ways)
        yield f"It stays on {winner.branch} until {until}; each with the other weights as they are."
    if never:
        yield f"No weight up to {MOST_WEIGHT} would bring it to {', '.join(never)}."
    yield "Another salt would deal all users anew."


def _answering(one: Explained) -> Iterator[str]:
    standing, running = one.standing, one.standing.running
    if running is not None:
        yield from _configuration(one)
    if one.found is None:
        return
    arm, baseline = one.found.winner.branch, standing.baseline
    if running is not None and (state := running.branches[arm]).state != "ready":
        reason = (state.ejected or state).reason
        why = f": {_line(reason)}" if reason else ""
        if state.ejected and state.state == "ejected":
            text = f"{arm} is ejected since {state.ejected.since}{why}"
        else:
            text = f"{arm} has no loaded worker ({state.state}){why}"
        answering = running.answering(arm, baseline)
        if answering is None:
            yield f"{text}. Nobody answers in its place: requests wait for it, or fail."
        else:
            yield f"{text}. The baseline {answering} answers for it now; the user stays its own."
    elif arm == baseline:
        yield f"{arm} is the baseline: no other branch answers where it cannot."
    elif arm in standing.without_fallback:
        yield f"Where {arm} cannot answer the user gets an error, by `fallback: false`."
    else:
        yield f"Where {arm} cannot answer a request, the baseline {baseline} does; the row says so."


def _configuration(one: Explained) -> Iterator[str]:
    running = one.standing.running
    if running is None or running.configuration.state == "in_force":
        return
    found = running.configuration
    if found.state == "waiting":
        waits = "; ".join(f"{name}: {reason}" for name, reason in found.waiting_for.items())
        what = f"waits for {_line(waits)}"
    else:
        what = f"is refused: {_line(found.reason or 'without a reason')}"
    yield f"A changed gateway.yaml {what}. Explained is what is in force meanwhile."


def _ordered(one: Explained) -> Iterator[str]:
    """Where users are not dealt by the weights of gateway.yaml, and why."""
    for name, steps in one.standing.ramps.items():
        told = ", ".join(f"{step:g}" for step in steps)
        yield (
            f"{name} has a ramp of {told} % of the users, in place of a weight. Explained is its"
            " first step; a gateway that runs says where it is: --running."
        )
    for name, branch in one.standing.running.branches.items() if one.standing.running else ():
        if (order := branch.allocation) is None:
            continue
        part = one.standing.split.propensities.get(name, 0.0)
        yield (
            f"{name} gets {share(part)} of the users by the gateway's own decision, and not by the"
            f" weight of gateway.yaml ({branch.weight:g}): {order.state} since {order.since},"
            f" {_line(order.reason)}."
        )


def _shadows(one: Explained) -> Iterator[str]:
    for name, part in one.standing.shadows.items():
        yield (
            f"{name} is a shadow: it answers nobody, and gets copies of {share(part)} of the"
            " answered requests, by request id."
        )


def _recorded(one: Explained) -> Iterator[str]:
    if one.found is None:
        return
    if one.unit != one.unit.strip(" \t"):
        yield "In a header it would lose the blanks at its ends, and be another user."
    if one.recorded is None:
        yield f"Its unit in recorded rows is not known: {one.not_recorded}."
    else:
        bucket = one.recorded.bucket
        yield f"In recorded rows it is the unit {one.recorded}, in bucket {bucket} of 0 to 255."


def _at(one: Explained) -> Iterator[str]:
    if one.at is None:
        return
    weights = ", ".join(f"{arm}={weight:g}" for arm, weight in one.at.weights.items())
    if one.at.found is None:
        yield f"At {weights}: {_shares(one.at.shares)}."
        return
    then = one.at.found.winner
    verb = "would move to" if one.moves else "would stay on"
    yield f"At {weights} it {verb} {then.branch}, which {share(then.share)} of the users get then."


def _rounded(value: float, rounding: str) -> str:
    """Four digits, rounded to the side on which what is said of it holds."""
    if value == 0:
        return "0"
    exact = Decimal(value)
    found = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 3), rounding).normalize()
    return f"{found:f}" if found.adjusted() > -7 else f"{found:E}"


def _quoted(text: str) -> str:
    """As a literal: what cannot be printed is spelt out, so that it can still be told."""
    return cut(repr(text), _ID)


def _line(text: str) -> str:
    """A reason as one line of bounded length."""
    return cut(" ".join(text.split()), _REASON)
