"""What does not go together in gateway.yaml, though each setting is right by itself.

Works on plain values, as they stand in the file, so that a person is told of all of it at once,
also where some other setting is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.access.scopes import is_loopback
from gateway.config.access import OPEN_TO_ALL
from gateway.config.experiment import misplaced
from gateway.config.ramp import STEPS
from gateway.experiments.metrics import BUILT_IN

#: Where a setting stands in the file, and what would be right.
Contradiction = tuple[tuple[str, ...], str]

NO_CODE = "must be gateway where trust.formats leaves out code: packages are code"
ONE_KEY = "must be left out where unit_key_env is given"
NO_KEY = (
    "needs unit_key_env or unit_key_file: all replicas must hash users by one key, and a key that"
    " is made here is known here only"
)


def contradictions(
    said: Mapping[str, Any], wrong: Collection[tuple[str | int, ...]] = ()
) -> list[Contradiction]:
    """`said` are settings as in the file; those at places that are `wrong` by themselves, and what
    follows from them, are passed over.
    """
    said = _without(said, (), frozenset(wrong))
    sound = {name for name in ("branches", "metrics") if not any(p[:1] == (name,) for p in wrong)}
    found = [
        *_of_branches(said, "branches" in sound),
        *_of_ramps(said, "branches" in sound),
        *_of_metrics(said, "metrics" in sound),
        *_of_allocation(said, "metrics" in sound),
        *_of_exclusion(said),
        *_of_trust(said, "branches" in sound),
    ]
    if said.get("unit_key_env") and said.get("unit_key_file"):
        found.append((("unit_key_file",), ONE_KEY))
    keys = ("unit_key_env", "unit_key_file")
    if said.get("redis") and not any(said.get(key) or (key,) in wrong for key in keys):
        found.append((("redis",), NO_KEY))
    if ("access",) not in {place[:1] for place in wrong}:
        found += _of_access(said)
    return [one for one in found if one[0] not in wrong]


def _without(
    value: Any, path: tuple[str | int, ...], wrong: frozenset[tuple[str | int, ...]]
) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        key: _without(inner, (*path, key), wrong)
        for key, inner in value.items()
        if (*path, key) not in wrong
    }


def _mappings(value: Any) -> dict[str, Mapping[str, Any]]:
    """The entries of a mapping that are mappings themselves."""
    if not isinstance(value, Mapping):
        return {}
    return {key: inner for key, inner in value.items() if isinstance(inner, Mapping)}


def _weight(branch: Mapping[str, Any]) -> float:
    weight: float = branch.get("weight", 0)
    return weight


def _is_ramped(branch: Mapping[str, Any]) -> bool:
    return branch.get("ramp") is not None


def _of_branches(said: Mapping[str, Any], sound: bool) -> Iterator[Contradiction]:
    baseline, branches = said.get("baseline"), _mappings(said.get("branches"))
    names = list(said.get("branches") or ())
    if baseline is not None and names and baseline not in names:
        yield ("baseline",), f"must be one of the branches: {', '.join(names)}"
    elif branches.get(str(baseline), {}).get("shadow") is True:
        yield ("baseline",), "must be a branch that answers; a shadow does not"
    if sound and branches and not any(map(_weight, branches.values())):
        yield ("branches",), "at least one must have a weight above 0"


def _of_ramps(said: Mapping[str, Any], sound: bool) -> Iterator[Contradiction]:
    baseline, branches = said.get("baseline"), _mappings(said.get("branches"))
    ramped = {name: branch for name, branch in branches.items() if _is_ramped(branch)}
    for name in ramped:
        if name == baseline:
            yield _ramp(name), "must be left out for the baseline: a ramp takes users from it"
    ramped.pop(str(baseline), None)
    if not ramped or not sound or baseline not in branches:
        return
    if not _weight(branches[str(baseline)]):
        for name in ramped:
            yield _ramp(name), f"must be left out while {baseline}, the baseline, has no weight"
    tops = [max(branch["ramp"].get("steps") or STEPS) for branch in ramped.values()]
    if sum(tops) >= 100:
        text = f"must leave users to the others: the last steps add up to {sum(tops):g} percent"
        yield _ramp(list(ramped)[-1]), text


def _ramp(name: str) -> tuple[str, ...]:
    return "branches", name, "ramp"


def _of_metrics(said: Mapping[str, Any], sound: bool) -> Iterator[Contradiction]:
    metrics = _mappings(said.get("metrics"))
    for name, settings in metrics.items():
        for key, text in misplaced(name, settings):
            yield ("metrics", name, key), text
    primary = [name for name, one in metrics.items() if one.get("role") == "primary"]
    for name in primary[1:]:
        yield ("metrics", name, "role"), f"must be another: {primary[0]} is the primary metric"


def _of_allocation(said: Mapping[str, Any], sound: bool) -> Iterator[Contradiction]:
    if said.get("allocation") != "thompson":
        return
    branches = _mappings(said.get("branches"))
    ramped = [name for name, branch in branches.items() if _is_ramped(branch)]
    if ramped:
        yield ("allocation",), f"must be fixed where a branch has a ramp, as {ramped[0]} has"
    elif sound and not _decides_by_events(_mappings(said.get("metrics"))):
        yield ("allocation",), "must be fixed without a primary metric of kind binary"


def _decides_by_events(metrics: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(
        one.get("role") == "primary" and (name in BUILT_IN or one.get("kind") == "binary")
        for name, one in metrics.items()
    )


def _of_trust(said: Mapping[str, Any], sound: bool) -> Iterator[Contradiction]:
    """A name that is no branch would leave the branch that was meant without any of it."""
    trust, known = said.get("trust"), said.get("branches")
    if not sound or not isinstance(known, Mapping) or not isinstance(trust, Mapping):
        return
    named, formats = trust.get("branches"), trust.get("formats")
    listed = [name for name in named or () if isinstance(name, str)]
    if strange := [name for name in listed if name not in known]:
        text = f"must name branches of this file, which {strange[0]} is not"
        yield ("trust", "branches"), f"{text}: {', '.join(known)}"
    if not isinstance(formats, list | tuple) or "code" in formats:
        return
    for name, branch in known.items():
        own = isinstance(branch, Mapping) and branch.get("environment") == "branch"
        if own and (named is None or name in listed):
            yield ("branches", name, "environment"), NO_CODE


def _of_exclusion(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    known: dict[str, str] = {}
    headers = said.get("exclude")
    for name in headers if isinstance(headers, Mapping) else ():
        first = known.setdefault(name.lower(), name)
        if first != name:
            yield ("exclude", name), f"must be one with {first}, which is the same header"


def _of_access(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    listen, access = said.get("listen"), said.get("access") or {}
    if listen is None or is_loopback(str(listen).rpartition(":")[0].strip("[]")):
        return
    if not access.get("keys_file") and access.get("anonymous") is None:
        yield ("listen",), OPEN_TO_ALL
