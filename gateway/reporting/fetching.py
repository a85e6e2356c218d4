"""The door to a running gateway: its pages over HTTP, bounded in time and size."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, urlsplit

from gateway.config import OperatorConfig
from gateway.config.document import load_config, load_operator
from gateway.errors import ConfigError, GatewayError
from gateway.names import Branch
from gateway.reporting.document import Drift, UnreadableAnswer, parse_drift
from gateway.reporting.standing import Standing, parse_standing

TIMEOUT = 30.0
#: What one answer may hold.
MOST_BYTES = 256 * 1024**2
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Unreachable(GatewayError):
    """Start the gateway, or name the right address."""


class Refused(GatewayError):
    """The gateway answered, and what it answered is an error; `status` is HTTP's."""

    def __init__(self, message: str, *, where: str, status: int) -> None:
        super().__init__(message, where=where)
        self.status = status


def operator_in(file: Path) -> OperatorConfig:
    """The operator's half of a gateway.yaml, which may name branches or leave them out."""
    try:
        return load_config(file)
    except ConfigError as error:
        try:
            return load_operator(file)  # of one whose branches stand in the repository
        except ConfigError:
            raise error from None


def url_in(file: Path) -> str:
    """Where the gateway of a gateway.yaml listens, as this machine reaches it."""
    listen = operator_in(file).listen
    host = _EVERYWHERE.get(listen.host, listen.host)
    if listen.port == 0:
        raise Unreachable(
            "`listen` takes any free port, so where it is only the log says: give --url",
            where=str(file),
        )
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


class Pages:
    """The pages of the gateway at `url`, through no proxy."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Unreachable(
                f"must be an address such as http://127.0.0.1:8080. Given: {url!r}", where="--url"
            )
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def drift(self, branch: Branch) -> Drift:
        url = self._of(branch, "drift")
        return parse_drift(self._get(url), url)

    def standing(self) -> Standing:
        """Who is served, and to whom, as is in force there now."""
        return parse_standing(self._get(f"{self._url}/branches"), self._url)

    def history(self, branch: Branch) -> str:
        """The branch's drift rows as CSV; empty where the gateway has no such view or no row."""
        try:
            return self._get(self._of(branch, "monitoring/drift.csv")).decode(errors="replace")
        except Refused as error:
            if error.status == 404:
                return ""
            raise

    def _of(self, branch: Branch, page: str) -> str:
        return f"{self._url}/branches/{quote(branch)}/{page}"

    def _get(self, url: str) -> bytes:
        try:
            with self._opener.open(url, timeout=TIMEOUT) as answer:
                data: bytes = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(64 * 1024)
            text = f"answered {error.code}: {_message(said)}"
            raise Refused(text, where=url, status=error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            reason = getattr(reason, "strerror", None) or reason
            text = f"no gateway answers: {str(reason) or type(reason).__name__}"
            raise Unreachable(
                f"{text}. Is it running there? Else name its address with --url", where=url
            ) from None
        if len(data) > MOST_BYTES:
            raise UnreadableAnswer(f"answered more than {MOST_BYTES} bytes", where=url)
        return data


def _message(said: bytes) -> str:
    """The gateway's own words, or the beginning of someone else's."""
    try:
        return str(json.loads(said)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return repr(said[:80].decode(errors="replace"))
