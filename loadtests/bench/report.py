"""RESULTS.md, written from the records of a race and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median

from loadtests.bench.arithmetic import (
    BUSY,
    cpu_per_thousand,
    median_of,
    middle,
    ratio,
    runs_of,
    spread,
)
from loadtests.bench.lineup import BY_NAME, SERVERS
from loadtests.bench.places import MODELS
from loadtests.bench.records import Results, Run
from loadtests.bench.subject import WEIGHTS
from loadtests.bench.targets import Verdict, verdicts

_NONE = "-"
#: What the targets name and a race does not show.
NOT_HERE = (
    "Reloads under load, and the time from a moved ref to the new model: the stories and the soak."
)


def page(results: Results) -> str:
    """The whole page."""
    parts = [
        _head(results),
        _problems(results),
        _missing(results),
        _targets(verdicts(results)),
        *(_model(results, model) for model in results.options.models),
        _special(results),
        _processes(results),
        _trials(results),
        _versions(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A Markdown table; the first `words` columns to the left, the figures to the right."""
    lines = [header, ["---" if at < words else "---:" for at in range(len(header))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(results: Results) -> str:
    machine, options = results.machine, results.options
    weights = ", ".join(f"{name} {weight}" for name, weight in WEIGHTS.items())
    quick = (
        "\n\n**A smoke run** (`--quick`): it shows that every server works, and no figure here is"
        " a measurement."
        if options.quick
        else ""
    )
    return f"""# Results of the peer benchmark

Written by `make bench`; how it is measured stands in [README.md](README.md). Begun
{results.started}, ended {results.ended}.{quick}

| | |
| --- | --- |
| processor | {machine.processor}, {machine.cores} cores |
| memory | {machine.memory_bytes / 1e9:.1f} GB |
| system | {machine.system} |
| Python | {machine.python} |
| load | {machine.wrk}, 1 thread, 1 row a request; load average at the start {machine.load_before:g} |
| runs | {options.rounds} rounds of {options.seconds:g} s, servers in turn; medians, ratios within rounds |
| gateway | recording, metrics, two branches with the same model ({weights}), defaults |"""  # noqa: E501


def _problems(results: Results) -> str:
    if not results.problems:
        return ""
    listed = "\n".join(f"- {' '.join(text.split())}" for text in results.problems)
    return f"## What went wrong\n\n{listed}"


def _missing(results: Results) -> str:
    rows = [
        (BY_NAME[name].title, " ".join(reason.split()).replace("|", "\\|"))
        for name, reason in results.missing.items()
    ]
    rows += [
        (server.title, "not asked for in this run (`--only`)")
        for server in SERVERS
        if server.name not in results.options.servers
    ]
    if not rows:
        return ""
    return "## Missing\n\n" + table(("server", "why"), rows, words=2)


def _targets(judged: Sequence[Verdict]) -> str:
    words = {True: "reached", False: "**missed**", None: "not measured"}
    rows = [(each.what, each.wanted, each.reached, words[each.met]) for each in judged]
    count = Counter(each.met for each in judged)
    summary = (
        f"{count[True]} of {len(judged)} reached, {count[False]} missed, "
        f"{count[None]} not measured in this run."
    )
    header = ("target", "wanted", "measured", "")
    return f"## Targets\n\n{summary} Not part of this run: {NOT_HERE}\n\n" + table(
        header, rows, words=4
    )


def _raced(results: Results, model: str) -> list[str]:
    """The servers with at least one run of this model, in the order of the line-up."""
    ran = {run.server for run in results.runs if run.model == model}
    return [server.name for server in SERVERS if server.name in ran]


def _model(results: Results, model: str) -> str:
    servers, connections = _raced(results, model), results.options.connections
    header = ("server", *(str(count) for count in connections))

    def figures(show: Callable[[str, int], str], but: str = "") -> str:
        rows = [
            (BY_NAME[name].title, *(show(name, count) for count in connections))
            for name in servers
            if name != but
        ]
        return table(header, rows)

    def rate(name: str, count: int) -> str:
        return _number(median_of(results, model, name, count, lambda run: run.rate))

    def latency(name: str, count: int) -> str:
        p50 = median_of(results, model, name, count, lambda run: run.p50)
        p99 = median_of(results, model, name, count, lambda run: run.p99)
        return f"{_milliseconds(p50)} / {_milliseconds(p99)}"

    def times(name: str, count: int) -> str:
        found = ratio(results, model, "gateway", name, count)
        return _NONE if found is None else f"{found:.2f}"

    parts = [
        f"## {MODELS[model].capitalize()} (`{model}`)",
        _alone(results, model),
        "Requests a second, by connections:\n\n" + figures(rate),
        "Latency in ms, p50 / p99, by connections:\n\n" + figures(latency),
    ]
    if "gateway" in servers:
        parts.append(
            "The gateway's requests a second as a multiple:\n\n" + figures(times, "gateway")
        )
        parts.append(_noise(results, model))
    return "\n\n".join(part for part in parts if part)


def _alone(results: Results, model: str) -> str:
    rounds = [alone for alone in results.alone if alone.model == model]
    one, many = middle(each.one for each in rounds), middle(each.many for each in rounds)
    if one is None or many is None:
        return ""
    memory = median([each.peak for each in rounds])
    return (
        f"The model alone in a loop: {one:,.0f} calls/s of one row, {many:,.0f} calls/s of 64 rows"
        f" ({many * 64:,.0f} rows/s); the interpreter with it needs {memory / 1e6:.0f} MB at most."
    )


def _noise(results: Results, model: str) -> str:
    """How much the gateway's own rounds differ: how far these figures can be trusted."""
    found = {
        count: spread([run.rate for run in runs_of(results, model, "gateway", count).values()])
        for count in results.options.connections
    }
    said = ", ".join(f"{share:.0%} at {count}" for count, share in found.items() if share)
    return f"The gateway's rounds lie apart by {said} of their median." if said else ""


def _special(results: Results) -> str:
    keys = dict.fromkeys((extra.server, extra.what) for extra in results.extras)
    if not keys:
        return ""
    rows = []
    for server, what in keys:
        of = [extra for extra in results.extras if (extra.server, extra.what) == (server, what)]
        rows.append(
            (
                f"{BY_NAME[server].title}: {what}",
                _number(middle(extra.rate for extra in of)),
                _milliseconds(middle(extra.p50 for extra in of)),
                _milliseconds(middle(extra.p99 for extra in of)),
            )
        )
    title = f"## Many rows, and large bodies beside small ones (`{results.options.models[0]}`)"
    text = (
        "A small body has one row, on 8 connections; a large one just under 1 MB, on one connection"
        " of its own."
    )
    return f"{title}\n\n{text}\n\n" + table(("load", "requests/s", "p50 ms", "p99 ms"), rows)


def _processes(results: Results) -> str:
    parts = []
    for model in results.options.models:
        rows = [row for name in _raced(results, model) for row in _of_server(results, model, name)]
        if rows:
            header = ("server", "process", "CPU s / 1,000", "peak RSS MB", "PSS MB", "idle cores")
            parts.append(f"`{model}`:\n\n" + table(header, rows, words=2))
    if not parts:
        return ""
    text = (
        f"CPU seconds for 1,000 requests at {BUSY} connections (median of the rounds, all processes"
        " of a kind together); memory of each process after all its loads; idle: cores used by the"
        " whole server while nobody asks."
    )
    return f"## Processes\n\n{text}\n\n" + "\n\n".join(parts)


def _of_server(results: Results, model: str, name: str) -> Iterator[tuple[str, ...]]:
    runs: list[Run] = list(runs_of(results, model, name, BUSY).values())
    settings = {run.setting for run in runs}
    cpu = cpu_per_thousand(runs)
    parts = [
        part
        for part in results.memory
        if (part.model, part.server) == (model, name) and (part.setting in settings or not settings)
    ]
    idle = [
        each.cores
        for each in results.idle
        if (each.model, each.server) == (model, name) and (each.setting in settings or not settings)
    ]
    kinds = sorted({part.process for part in parts} | {kind for kind, used in cpu.items() if used})
    for number, kind in enumerate(kinds):
        of = [part for part in parts if part.process == kind]
        count = f", {len(of)} of them" if len(of) > 1 else ""
        yield (
            BY_NAME[name].title if number == 0 else "",
            f"{kind}{count}",
            f"{cpu[kind]:.3f}" if kind in cpu else _NONE,
            _each([part.peak for part in of]),
            _each([part.share for part in of if part.share is not None]),
            f"{max(idle):.3f}" if idle and number == 0 else "",
        )


def _each(values: Sequence[float]) -> str:
    """The one value, or the range of several, in MB."""
    if not values:
        return _NONE
    low, high = min(values) / 1e6, max(values) / 1e6
    return f"{high:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"


def _trials(results: Results) -> str:
    if not results.trials:
        return ""
    keys = dict.fromkeys((trial.server, trial.setting) for trial in results.trials)
    by = {(t.model, t.server, t.setting, t.connections): t.rate for t in results.trials}
    loads = [(model, count) for model in results.options.models for count in (1, BUSY)]
    rows = [
        (
            BY_NAME[server].title,
            f"`{setting}`",
            *(_number(by.get((model, server, setting, count))) for model, count in loads),
        )
        for server, setting in keys
    ]
    header = ("server", "setting", *(f"{model} at {count}" for model, count in loads))
    text = (
        "Requests a second, once each. The fastest at 1 connection raced at 1, the fastest at"
        f" {BUSY} at more."
    )
    return f"## Settings tried\n\n{text}\n\n" + table(header, rows, words=2)


def _versions(results: Results) -> str:
    rows = [
        (BY_NAME[name].title, ", ".join(f"{part} {number}" for part, number in versions.items()))
        for name, versions in results.versions.items()
    ]
    return "## Versions\n\n" + table(("server", "versions"), rows, words=2) if rows else ""


def _number(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(seconds: float | None) -> str:
    return _NONE if seconds is None else f"{seconds * 1e3:.2f}"
