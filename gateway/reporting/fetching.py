"""The door to a running gateway: its pages over HTTP, bounded in time and size."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from gateway.config import OperatorConfig
from gateway.config.document import load_config, load_operator
from gateway.errors import ConfigError, GatewayError, StateError
from gateway.experiments.feedback import Judged
from gateway.names import Branch
from gateway.operating import Action, printable
from gateway.reporting.document import Drift, UnreadableAnswer, parse_drift
from gateway.reporting.standing import Standing, parse_standing

TIMEOUT = 30.0
#: What one answer may hold.
MOST_BYTES = 256 * 1024**2
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Unreachable(GatewayError):
    """Start the gateway, or name the right address."""


class Refused(GatewayError):
    """The gateway answered, and what it answered is an error; `status` is HTTP's.

    `retry_after` is in seconds, 0 where it does not say.
    """

    def __init__(self, message: str, *, where: str, status: int, retry_after: float = 0.0) -> None:
        super().__init__(message, where=where)
        self.status = status
        self.retry_after = retry_after


class _Judgement(msgspec.Struct):
    items: list[Judged]


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
    if not file.exists():
        raise Unreachable(
            "is not there: name the file with --config, or the gateway with --url", where=str(file)
        )
    operator = operator_in(file)
    listen = operator.listen
    host = _EVERYWHERE.get(listen.host, listen.host)
    if listen.port == 0:
        raise Unreachable(
            "`listen` takes any free port, so where it is only the log says: give --url",
            where=str(file),
        )
    shown = f"[{host}]" if ":" in host else host
    return f"http{'s' if operator.tls else ''}://{shown}:{listen.port}"


def certificate_in(file: Path) -> str | None:
    """The gateway's own certificate, as PEM, where it listens with TLS and this machine has it."""
    tls = operator_in(file).tls
    if tls is None:
        return None
    try:
        found = re.search(
            "-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----",
            tls.cert_file.read_text(errors="replace"),
            re.DOTALL,
        )
    except OSError as error:
        raise StateError(f"cannot be read: {error.strerror}", where=str(tls.cert_file)) from None
    if found is None:
        raise StateError("holds no certificate", where=str(tls.cert_file))
    return found[0]


class Pages:
    """The pages of the gateway at `url`, through no proxy."""

    def __init__(self, url: str, key: str | None = None, *, trusted: str | None = None) -> None:
        """`trusted` is the one certificate that is accepted, whatever name it is for: this asks an
        address of this machine. Without it, authorities and names decide.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Unreachable(
                f"must be an address such as http://127.0.0.1:8080. Given: {url!r}", where="--url"
            )
        self._url = url.rstrip("/")
        self._key = key
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=_trusting(trusted)),
        )

    def drift(self, branch: Branch) -> Drift:
        url = self._of(branch, "drift")
        return parse_drift(self._get(url), url)

    def standing(self) -> Standing:
        """Who is served, and to whom, as is in force there now."""
        return parse_standing(self._get(f"{self._url}/branches"), self._url)

    def experiment(self, candidate: Branch | None) -> tuple[bytes, str]:
        """The read-out's JSON, of one candidate or of all, and where it came from."""
        asked = f"?candidate={quote(candidate, safe='')}" if candidate else ""
        url = f"{self._url}/experiment{asked}"
        return self._get(url), url

    def history(self, branch: Branch) -> str:
        """The branch's drift rows as CSV; empty where the gateway has no such view or no row."""
        try:
            return self._get(self._of(branch, "monitoring/drift.csv")).decode(errors="replace")
        except Refused as error:
            if error.status == 404:
                return ""
            raise

    def feedback(self, items: Sequence[bytes]) -> list[Judged]:
        """Send outcomes, each a JSON object; what the gateway says of each, in their order."""
        url = f"{self._url}/feedback"
        data = self._get(url, b'{"items":[%s]}' % b",".join(items))
        try:
            judged = msgspec.json.decode(data, type=_Judgement).items
        except msgspec.MsgspecError as error:
            raise UnreadableAnswer(f"its JSON is no such answer: {error}", where=url) from None
        if len(judged) != len(items):
            message = f"was sent {len(items)} items, and answered {len(judged)}"
            raise UnreadableAnswer(message, where=url)
        return judged

    def operate(self, branch: Branch, action: Action, reason: str, *, out: bool) -> str:
        """Have a branch held or released; what is in force then, in words."""
        url = self._of(branch, action)
        body = {"reason": reason, **({"out": out} if action == "hold" else {})}
        answer = self._get(url, json.dumps(body).encode())
        try:
            return printable(str(json.loads(answer)["text"]))
        except (ValueError, LookupError, TypeError) as error:
            raise UnreadableAnswer(f"its JSON is no such answer: {error}", where=url) from None

    def _of(self, branch: Branch, page: str) -> str:
        return f"{self._url}/branches/{quote(branch)}/{page}"

    def _get(self, url: str, body: bytes | None = None) -> bytes:
        """What the page answers; with a body, what it answers to that."""
        # Its scheme was looked at.
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        if self._key is not None:
            # Not to where it redirects, which may be another's.
            asked.add_unredirected_header("Authorization", f"Bearer {self._key}")
        try:
            with self._opener.open(asked, timeout=TIMEOUT) as answer:
                data: bytes = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(64 * 1024)
            text = f"answered {error.code}: {_message(said)}"
            if error.code == 401:
                text += ". For this command, GATEWAY_KEY is the variable that holds the key"
            again = str(error.headers.get("Retry-After", ""))
            wait = float(again) if again.isdecimal() else 0.0
            raise Refused(text, where=url, status=error.code, retry_after=wait) from None
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


def _trusting(certificate: str | None) -> ssl.SSLContext:
    if certificate is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _message(said: bytes) -> str:
    """The gateway's own words, or the beginning of someone else's."""
    try:
        return str(json.loads(said)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return repr(said[:80].decode(errors="replace"))
