"""REPLICAS.md from the figures: tables, and the arithmetic of a much larger house."""

from __future__ import annotations

import textwrap
from statistics import median

from loadtests.bench.records import Machine
from loadtests.replicas.measures import Costs, Figures

#: Of the house on paper.
REQUESTS, REPLICAS = 100_000, 30


def page(figures: Figures, machine: Machine, server: str, seconds: float) -> str:
    costs = figures.costs
    assert costs is not None
    parts = [
        _introduction(figures, machine, server, seconds),
        _throughput(figures),
        _request_path(figures),
        _deaths(figures),
        _costs(costs),
        _on_paper(costs),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(figures: Figures, machine: Machine, server: str, seconds: float) -> str:
    what = """Written by `make replicas-bench`; what is done stands in [README.md](README.md).
    Replicas, Redis, git and the client share the cores of one machine: figures are ratios within a
    run, and more replicas cannot be faster here. On machines of their own they are."""
    where = f"""{machine.processor}, {machine.cores} cores, {machine.system}, Python
    {machine.python}, {server}; load before: {machine.load_before}. {figures.requests:,} requests,
    {figures.refused:,} refused; loads of {seconds:g} s."""
    return "\n\n".join(["# Replicas", _text(what), _text(where)])


def _throughput(figures: Figures) -> str:
    what = f"""Medians of {len(figures.shared[1])} rounds, lowest and highest in brackets; ratios
    are medians of those within a round. Where rounds lie further apart than a ratio is
    from 1, it says nothing. Every row is recorded and published in all of them. Each alone
    publishes by itself; on
    one Redis one does for all."""
    rows = [
        "| replicas | on one Redis, req/s | each alone, req/s | with to without Redis | to one |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    first = figures.shared[1]
    for count, rates in figures.shared.items():
        alone = figures.alone[count]
        rows.append(
            f"| {count} | {_spread(rates)} | {_spread(alone)}"
            f" | {_ratio(rates, alone):.2f} | {_ratio(rates, first):.2f} |"
        )
    return "\n\n".join(["## Throughput", _text(what), "\n".join(rows)])


def _request_path(figures: Figures) -> str:
    thawed, frozen = figures.thawed, figures.frozen
    rates = [r for r, _ in frozen], [r for r, _ in thawed]
    tails = [p for _, p in frozen], [p for _, p in thawed]
    what = f"""The front's process has no connection to Redis, so that Redis costs a request
    nothing: that is by its making, and a load can only contradict it. One replica
    answered, with Redis running, {_spread(rates[1])} requests a second, and with Redis stopped
    by SIGSTOP
    {_spread(rates[0])} (median ratio {_ratio(*rates):.2f}); 99 % of them within
    {median(tails[1]) * 1e3:.1f} and {median(tails[0]) * 1e3:.1f} ms. It does not wait for a Redis
    that says nothing. The two are not alike otherwise: while Redis is stopped nothing is shipped or
    published on the same cores, so the ratio is no measure of what Redis costs."""
    return f"## Redis on the request path\n\n{_text(what)}"


def _deaths(figures: Figures) -> str:
    calm, busy = sorted(figures.pushed_after), sorted(figures.pushed_after_busy)
    what = f"""From kill -9 of the holder's monitor and front to the next push, {len(calm)} deaths
    each: {median(calm):.1f} s ({calm[0]:.1f} to {calm[-1]:.1f}) while two connections ask the
    others 50 times a second each at most, and {median(busy):.1f} s ({busy[0]:.1f} to
    {busy[-1]:.1f})
    while they ask as fast as they are answered. The lease runs out up to 5 s after its last
    renewal and
    is asked for each second; then the next holder brings what Redis has, before it pushes."""
    return f"## The holder dies\n\n{_text(what)}"


def _costs(costs: Costs) -> str:
    what = f"""{costs.rows:,} predictions of one row of 30 numbers, over {costs.standing_by + 1}
    replicas."""
    of = {
        "bytes of its line, shipped once": f"{costs.chunk_bytes / costs.rows:,.0f}",
        "bytes into Redis, all told": f"{costs.received / costs.rows:,.0f}",
        "bytes out of Redis": f"{costs.sent / costs.rows:,.0f}",
        "CPU of Redis": f"{costs.of_row(costs.redis_cpu):.1f} µs",
        "CPU of the monitor that ships it": f"{costs.shipping:.1f} µs",
        "CPU of the holder": f"{costs.holding:.1f} µs",
        "CPU of the front": f"{costs.of_row(costs.cpu['front']):.1f} µs",
        "CPU of the workers": f"{costs.of_row(costs.cpu['worker']):.1f} µs",
    }
    rows = ["| | of a prediction |", "| --- | ---: |", *(f"| {k} | {v} |" for k, v in of.items())]
    memory = f"""Redis memory: {costs.memory / costs.rows:,.0f} MB per million predictions that are
    not published yet, and none of those that are. The state and the documents, which stay:
    {costs.state / 1e6:.1f} MB after this run."""
    title = "## What a prediction costs"
    return "\n\n".join([title, _text(what), "\n".join(rows), _text(memory)])


def _on_paper(costs: Costs) -> str:
    line = costs.chunk_bytes / costs.rows
    beside = (costs.received - costs.chunk_bytes) / costs.rows
    each, holder = REQUESTS / REPLICAS, 1e6 / costs.holding
    share = f"""Each replica answers {each:,.0f} a second. At the CPU above that is
    {each * costs.of_row(costs.cpu["front"]) / 1e6:.2f} cores of its front, which is one process,
    and {each * costs.shipping / 1e6:.2f} of its monitor for shipping."""
    through = f"""Through Redis go {REQUESTS * line / 1e6:,.0f} MB of lines a second
    ({REQUESTS * line * 8 / 1e9:.1f} Gbit/s) in, and once out to the holder; beside them
    {beside:,.0f} bytes a prediction of state, as in this run. Its commands take
    {REQUESTS * costs.of_row(costs.redis_cpu) / 1e6:.2f} of the one core that it has for them. A
    cap of 256 MiB is {2**28 / (line * REQUESTS):.1f} s of such rows: `redis.chunk_bytes` must be
    larger for more than a pause."""
    bottleneck = f"""**The holder is the bottleneck.** It is one process, and its
    {costs.holding:.0f} µs a row are {_rounded(holder)} rows a second on a core as here:
    {REQUESTS / holder:.0f} times too few for {REQUESTS:,}. No request waits for it. What is beyond
    waits in Redis to the cap, then on the replicas' disks, {line * REQUESTS * 3600 / 1e9:,.0f} GB
    an hour of all together, and is never caught up with. So one house of replicas keeps up with
    some {_rounded(holder)} recorded requests a second of such rows; beyond that it is several, for
    other users or other branches, each with a repository or a `redis.prefix` of its own.
    `monitoring.sample_rows` makes commits smaller, and saves the holder the writing of rows, but
    every line is still shipped, read and counted."""
    bounded = """What does not grow with the rate: the index of experiments (2,000,000 entries,
    then fewer units are counted) and so the state, of which changed blocks of 64 KiB go to Redis
    in each round; and git, which takes one commit a branch and flush however many replicas there
    are."""
    title = f"## On paper: {REQUESTS:,} requests a second over {REPLICAS} replicas"
    return "\n\n".join([title, *map(_text, (share, through, bottleneck, bounded))])


def _text(words: str) -> str:
    return textwrap.fill(" ".join(words.split()), 100, break_on_hyphens=False)


def _spread(rates: list[float]) -> str:
    return f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _ratio(over: list[float], under: list[float]) -> float:
    return median(one / other for one, other in zip(over, under, strict=True))


def _rounded(rate: float) -> str:
    """To two digits: it is no promise."""
    return f"{float(f'{rate:.2g}'):,.0f}"
