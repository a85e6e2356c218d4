"""What is asked of a Redis, and which version brought that: by the server's own documentation."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any

from redisserver import RedisServer

#: A word of a command as MONITOR quotes it.
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_END = "that is all"

Version = tuple[int, ...]
Call = tuple[str, ...]


@contextlib.contextmanager
def overheard(server: RedisServer) -> Iterator[list[Call]]:
    """What is asked meanwhile, by scripts too, once it is over: the command's name comes first."""
    calls: list[Call] = []
    with socket.socket(socket.AF_UNIX) as line, line.makefile("rw") as ear:
        line.settimeout(10)
        line.connect(str(server.socket))
        ear.write("MONITOR\r\n")
        ear.flush()
        assert ear.readline() == "+OK\n"
        yield calls
        with server.client() as client:
            client.execute_command("ECHO", _END)
        for said in ear:
            name, *rest = _WORD.findall(said)
            if rest == [_END]:
                return
            calls.append((name.lower(), *rest))


def asked(server: RedisServer) -> set[str]:
    """The commands that were ever asked since it runs, as `client|setname` where it says so."""
    with server.client() as client:
        # As Redis answers, not as redis-py reads it.
        client.response_callbacks.clear()
        lines: bytes = client.execute_command("INFO", "commandstats")
    return set(re.findall(r"^cmdstat_([^:]+):", lines.decode(), re.MULTILINE))


def documents(server: RedisServer) -> bool:
    """6.2 does not; it refuses what is younger."""
    with server.client() as client:
        return not str(client.info("server")["redis_version"]).startswith("6.")


def came_with(server: RedisServer, name: str, *arguments: str) -> Version:
    """The version that brought the command, and those of its options that stand in `arguments`."""
    with server.client() as client:
        client.response_callbacks.clear()
        names = [f"{name}|{arguments[0].lower()}", name] if arguments else [name]
        found = [
            docs for one in names for docs in client.execute_command("COMMAND", "DOCS", one)[1::2]
        ]
    assert found, f"{name} is documented nowhere"
    docs = _read(found[0])
    words = {one.upper() for one in arguments}
    return max([_version(docs), *_ages(docs, words, _version(docs))])


def _ages(docs: dict[bytes, Any], words: set[str], of_all: Version) -> Iterator[Version]:
    """Of the options that were given; what says nothing of it is as old as what it is in."""
    for argument in map(_read, docs.get(b"arguments", [])):
        since = _version(argument, of_all)
        if argument.get(b"token", b"").decode() in words:
            yield since
        yield from _ages(argument, words, since)


def _read(said: list[Any]) -> dict[bytes, Any]:
    return dict(zip(said[::2], said[1::2], strict=True))


def _version(docs: dict[bytes, Any], otherwise: Version = (0,)) -> Version:
    return tuple(map(int, docs[b"since"].split(b"."))) if b"since" in docs else otherwise
