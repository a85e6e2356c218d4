"""Health checks and crawlers are told by their headers, and everybody else is a user."""

from __future__ import annotations

import re

import pytest

from gateway.config.exclusion import USER_AGENTS
from gateway.web import exclusion as room
from gateway.web.exclusion import Exclusion

AGENTS = {"User-Agent": USER_AGENTS}


def agent(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"user-agent", text.encode()), (b"accept", b"*/*")]


@pytest.mark.parametrize(
    "text",
    [
        "kube-probe/1.29",
        "GoogleHC/1.0",
        "ELB-HealthChecker/2.0",
        "Envoy/HC",
        "Consul Health Check",
        "Blackbox Exporter/0.24.0",
        "Amazon-Route53-Health-Check-Service (ref 1a2b; report http://amzn.to/1vsZADi)",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        "facebookexternalhit/1.1",
    ],
)
def test_those_that_say_what_they_are_are_known_without_a_word(text: str) -> None:
    assert Exclusion(AGENTS).covers(agent(text))
    assert Exclusion(AGENTS).covers(agent(text.upper()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "curl/8.5.0",
        "python-requests/2.32.3",
        "python-httpx/0.27.0",
        "Go-http-client/1.1",
        "Java/17.0.2",
        "okhttp/4.12.0",
        "Mozilla/5.0 (Linux; Android 9; CUBOT X18 Plus) AppleWebKit/537.36 Chrome/120",
        "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    ],
)
def test_people_and_services_are_users(text: str) -> None:
    assert not Exclusion(AGENTS).covers(agent(text))


def test_any_of_several_headers_and_of_several_values_is_enough() -> None:
    found = Exclusion({"X-Probe": ["*"], "Via": ["synthetic-?", "test[0-9]"]})
    assert found.covers([(b"x-probe", b"")])
    assert found.covers([(b"via", b"a proxy"), (b"via", b" Synthetic-7 ")])
    assert found.covers([(b"via", b"TEST5")])
    assert not found.covers([(b"via", b"synthetic-77"), (b"via", b"testx"), (b"via2", b"test5")])
    assert not found.covers([])
    assert not Exclusion({}).covers(agent("kube-probe/1.29"))


def test_a_pattern_is_of_the_whole_value_and_a_dot_is_a_dot() -> None:
    found = Exclusion({"A": ["a.b", "q"]})
    assert [found.covers([(b"a", v)]) for v in (b"a.b", b"axb", b"xa.b", b"a.bx", b"qq")] == [
        *(True, False),
        *(False, False, False),
    ]


def test_a_value_in_latin_1_is_text_too() -> None:
    assert Exclusion({"A": ["é*"]}).covers([(b"a", b"\xe9t\xe9")])


@pytest.mark.parametrize("glob", ["[", "[!]", "[z-a]", "a**b***?", "(", "|", "\\", "[[a]", "[^a-]"])
def test_whatever_pattern_is_written_is_compiled_beside_others(glob: str) -> None:
    assert Exclusion({"A": [glob, "ok", glob]}).covers([(b"a", b"OK")])


def test_what_was_judged_once_is_remembered_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[str] = []
    found = Exclusion({"A": ["*bot*"]})
    (rule,) = found._rules.values()
    match = rule._matches

    def counted(text: str) -> re.Match[str] | None:
        judged.append(text)
        return match(text)

    monkeypatch.setattr(rule, "_matches", counted)
    for _ in range(3):
        assert found.covers([(b"a", b"a bot")])
        assert not found.covers([(b"a", b"ada")])
    assert judged == ["a bot", "ada"]
    for number in range(3 * room._VERDICTS):
        assert not found.covers([(b"a", b"%d" % number)])
        assert len(rule._verdicts) <= room._VERDICTS
    assert found.covers([(b"a", b"a bot")])


def test_of_a_long_value_only_the_beginning_is_looked_at_and_nothing_is_kept() -> None:
    found = Exclusion({"A": ["*bot*"]})
    long = b"x" * 60_000
    assert found.covers([(b"a", b"bot" + long)])
    assert not found.covers([(b"a", long + b"bot")])
    (rule,) = found._rules.values()
    assert rule._verdicts == {}
