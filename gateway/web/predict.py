"""POST /predict: unit, assignment, the branch's queue, the answer. The whole hot path.

Neither a task nor a future: a request is a chain of calls, from its body to its response. Features
are never parsed here. What a branch cannot answer is answered by the baseline and says so.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from gateway.access.guard import OVERRIDE, PREDICT, Client, Guard
from gateway.assignment import OVERRIDE as BY_NAME
from gateway.config import Config
from gateway.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    Forbidden,
    GatewayError,
    InvalidInstances,
    ModelError,
    NotFound,
    NotReady,
    Overloaded,
    RequestError,
    TooMany,
    Unauthorised,
    UnreadableBody,
)
from gateway.metrics import Metrics
from gateway.names import Branch, RequestId
from gateway.recording import Exchange, Recorder
from gateway.routing import Routing
from gateway.web.deadline import deadline_in
from gateway.web.envelope import Envelope
from gateway.web.errors import DEFECT, describe
from gateway.web.exclusion import Exclusion
from gateway.web.overrides import Asked, with_header
from gateway.web.units import Headers, UnitSources
from gateway.workers.fleet import Fleet
from gateway.workers.jobs import Answer, Job, Serving

log = logging.getLogger(__name__)

PATH = "/predict"

_ID_BYTES = 10
_TAILS_KEPT = 1000

#: What befell a branch, as the row's status says it: where the baseline answered, and where not.
_FALLBACKS: tuple[tuple[type[GatewayError], str], ...] = (
    (NotReady, "fallback_not_ready"),
    (Overloaded, "fallback_overload"),
    (DeadlineExceeded, "fallback_timeout"),
    (ModelError, "fallback_error"),
)
_FAILURES: tuple[tuple[type[GatewayError], str], ...] = (
    (InvalidInstances, "invalid"),
    (Overloaded, "overload"),
    (DeadlineExceeded, "timeout"),
    (GatewayError, "error"),
)

#: Why a request was refused before any branch saw it; else it is unreadable.
_REFUSALS: tuple[tuple[type[RequestError], str], ...] = (
    (BodyTooLarge, "too_large"),
    (NotFound, "no_branch"),
    (Unauthorised, "access"),
    (Forbidden, "access"),
    (TooMany, "access"),
)

#: The response, once, now or later: HTTP status, header lines, body.
Respond = Callable[[int, bytes, bytes], None]


class Predict:
    """The endpoint; also counts its requests.

    `begin` is the whole of it: a connection (`web/connection`) calls it as soon as a body is there.
    """

    def __init__(
        self,
        routing: Routing,
        fleet: Fleet,
        recorder: Recorder,
        metrics: Metrics,
        guard: Guard,
    ) -> None:
        self._routing = routing
        self._fleet = fleet
        self._recorder = recorder
        self.metrics = metrics
        self._guard = guard
        #: Told of every answer, once it is given; None where nobody is to be.
        self.given: Callable[[Exchange, Answer], None] | None = None
        self._of: Config | None = None
        self._envelope: Envelope
        self._units: UnitSources
        self._exclusion: Exclusion
        self._random = b""
        self._tails: dict[int, tuple[Serving, bytes, bytes]] = {}

    @property
    def most_bytes(self) -> int:
        """The bound of a body, as configured now."""
        return self._routing.config.limits.body_bytes

    def begin(
        self,
        headers: Headers,
        body: bytes | bytearray,
        respond: Respond,
        client: Client = None,
        asked: Asked | None = None,
    ) -> None:
        """Answer a request of these headers (names in lower case) and this body.

        `asked` is the branch that its path or query names. `respond` is called exactly once,
        during this call or later.
        """
        arrived = time.perf_counter()
        request_id = self._new_id()
        try:
            override = self._admitted(headers, client, asked)
            exchange = self._exchange(headers, body, request_id, arrived, override)
        except RequestError as error:
            self.refuse(error, respond)
        except Exception:
            log.exception("unexpected error in %s", PATH, extra={"request_id": request_id})
            respond(*self._refusal(GatewayError(DEFECT), request_id, None))
        else:
            Flight(self, exchange, respond).ask()

    def refuse(self, error: RequestError, respond: Respond) -> None:
        """Count and answer a request that no branch is to see."""
        reason = next((word for kind, word in _REFUSALS if isinstance(error, kind)), "unreadable")
        self.metrics.refused_by[reason].inc()
        respond(*self._refusal(error, self._new_id(), None))

    # What a flight asks of the rooms

    def submit(self, exchange: Exchange, flight: Flight) -> None:
        """Queue the exchange with its branch; NotReady or Overloaded at once."""
        branch = exchange.branch
        settings = self._routing.config.branches.get(branch)
        try:
            slot = self._fleet.slot(branch)
        except KeyError:
            slot = None
        if slot is None or settings is None:
            raise NotReady("no longer configured", where=branch)
        deadline = slot.now() + settings.timeout
        hurried = exchange.deadline < deadline
        if hurried:
            deadline = exchange.deadline
        unit = exchange.assignment.unit
        job = Job(exchange.payload, exchange.rows, deadline, exchange, flight, hurried, unit)
        slot.submit(job, patient=not self.may_fall_back(exchange))

    def may_fall_back(self, exchange: Exchange) -> bool:
        """What was asked for by name is tried out: an answer of another branch is none."""
        config, branch = self._routing.config, exchange.branch
        if exchange.assignment.reason == BY_NAME:
            return False
        settings = config.branches.get(branch)
        return branch != config.baseline and (settings is None or settings.fallback)

    @property
    def baseline(self) -> Branch:
        """As it is now: the configuration may change while an arm is asked."""
        return self._routing.config.baseline

    def answered(self, exchange: Exchange, answer: Answer) -> tuple[int, bytes, bytes]:
        """Count it, and the response that says it."""
        serving = answer.serving
        self.metrics.branch(exchange.assignment.arm).requests[exchange.status].inc()
        children = self.metrics.branch(serving.branch)
        children.duration.observe(time.perf_counter() - exchange.arrived)
        children.rows.inc(exchange.rows)
        if answer.ignored:
            children.ignored_columns.inc(answer.ignored)
        identity = exchange.request_id.encode()
        _, lines, tail = self._provenance(serving)
        probabilities = answer.probabilities
        body = b'{"predictions":%s%s%s,"request_id":"%s",%s}' % (
            answer.predictions,
            b',"probabilities":' if probabilities else b"",
            probabilities,
            identity,
            tail,
        )
        return 200, b"gateway-request-id: %s\r\n%s" % (identity, lines), body

    def failed(self, exchange: Exchange, error: GatewayError) -> tuple[int, bytes, bytes]:
        """Record and count a request that nobody answered, and the response that says why."""
        serving = self._serving(exchange.branch)
        exchange.status = _status(error, _FAILURES)
        self._recorder.failed(exchange, serving, exchange.status, error.message)
        self.metrics.branch(exchange.assignment.arm).requests[exchange.status].inc()
        return self._refusal(error, exchange.request_id, serving)

    def log_failure(self, exchange: Exchange, error: GatewayError) -> None:
        """Where the model itself failed, its author finds it in the branch's logs/."""
        if isinstance(error, ModelError):
            serving = self._serving(exchange.branch)
            commit = serving.commit if serving is not None else ""
            self._recorder.logged(
                exchange.branch, commit, "error", "predict", error.message, exchange.request_id
            )

    # The parts of a request and of a response

    def _new_id(self) -> RequestId:
        if len(self._random) < _ID_BYTES:
            self._random = os.urandom(_ID_BYTES * 512)
        drawn, self._random = self._random[:_ID_BYTES], self._random[_ID_BYTES:]
        return RequestId.build(time.time_ns() // 1_000_000, int.from_bytes(drawn, "big"))

    def _admitted(self, headers: Headers, client: Client, asked: Asked | None) -> Branch | None:
        """The branch that is asked for by name, if one is; RequestError unless it may be asked."""
        asked = with_header(asked, headers)
        if asked is None:
            if not self._guard.anybody_predicts:
                self._guard.admit(headers, client, PREDICT)
            return None
        self._guard.admit(headers, client, OVERRIDE)
        branch = self._routing.known(*asked)
        self.metrics.branch(branch).overrides.inc()
        return branch

    def _exchange(
        self,
        headers: Headers,
        body: bytes | bytearray,
        request_id: RequestId,
        arrived: float,
        override: Branch | None,
    ) -> Exchange:
        config = self._routing.config
        if config is not self._of:
            self._of = config
            self._envelope = Envelope(config.unit, config.limits)
            self._units = UnitSources(config.unit)
            self._exclusion = Exclusion(config.exclude)
        if not body:
            raise UnreadableBody("the body is empty", where="body")
        payload, rows, fields = self._envelope.parse(body)
        unit = self._units.find(headers, fields)
        excluded = override is None and self._exclusion.covers(headers)
        if excluded:
            self.metrics.excluded_requests.inc()
        assignment = self._routing.assign(unit, request_id, excluded=excluded, override=override)
        return Exchange(request_id, assignment, payload, rows, arrived, deadline_in(headers))

    def _serving(self, branch: Branch) -> Serving | None:
        try:
            return self._fleet.slot(branch).serving
        except KeyError:
            return None

    def _provenance(self, serving: Serving) -> tuple[Serving, bytes, bytes]:
        """Who answered, as header lines and as the end of a body; the same for many answers."""
        known = self._tails.get(id(serving))
        if known is None:
            if len(self._tails) > _TAILS_KEPT:
                self._tails.clear()
            branch, commit = serving.branch.encode(), serving.commit.encode()
            # No quote or backslash but for a `"` in a branch's name.
            # Keeping `serving` keeps its id from being given to another object.
            known = self._tails[id(serving)] = (
                serving,
                b"gateway-branch: %s\r\ngateway-commit: %s\r\n" % (branch, commit),
                b'"branch":"%s","commit":"%s"' % (branch.replace(b'"', b'\\"'), commit),
            )
        return known

    def _refusal(
        self, error: GatewayError, request_id: RequestId, serving: Serving | None
    ) -> tuple[int, bytes, bytes]:
        status, body, fields = describe(error)
        lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in fields.items())
        lines += f"gateway-request-id: {request_id}\r\n"
        provenance = self._provenance(serving)[1] if serving is not None else b""
        return status, lines.encode() + provenance, body


class Flight:
    """One exchange on its way to one branch and back: what a Job settles, and what falls back.

    A slot settles it from within its own work, so nothing is raised here into it. A fallback is
    another flight: what the arm still answers, too late, must find this one done.
    """

    __slots__ = ("_done", "_exchange", "_predict", "_respond")

    def __init__(self, predict: Predict, exchange: Exchange, respond: Respond) -> None:
        self._predict = predict
        self._exchange = exchange
        self._respond = respond
        self._done = False

    def ask(self) -> None:
        """Submit it to the exchange's branch; a refusal is settled at once."""
        try:
            self._predict.submit(self._exchange, self)
        except GatewayError as error:
            self.set_exception(error)
        except Exception:
            self._defect()

    def done(self) -> bool:
        return self._done

    def set_result(self, answer: Answer) -> None:
        self._done = True
        try:
            response = self._predict.answered(self._exchange, answer)
        except Exception:
            self._defect()
        else:
            self._respond(*response)
            if self._predict.given is not None:
                self._predict.given(self._exchange, answer)

    def set_exception(self, error: GatewayError) -> None:
        """The arm's failure is answered by the baseline, if it may; any other is the answer."""
        self._done = True
        predict, exchange = self._predict, self._exchange
        try:
            if not isinstance(error, InvalidInstances):
                predict.log_failure(exchange, error)
                if (
                    exchange.status == "ok"
                    and predict.may_fall_back(exchange)
                    and exchange.deadline > time.monotonic()
                ):
                    exchange.status = _status(error, _FALLBACKS)
                    exchange.branch = predict.baseline
                    Flight(predict, exchange, self._respond).ask()
                    return
            response = predict.failed(exchange, error)
        except Exception:
            self._defect()
        else:
            self._respond(*response)

    def _defect(self) -> None:
        self._done = True
        request_id = self._exchange.request_id
        log.exception("unexpected error in %s", PATH, extra={"request_id": request_id})
        status, body, _ = describe(GatewayError(DEFECT))
        self._respond(status, b"gateway-request-id: %s\r\n" % request_id.encode(), body)


def _status(error: GatewayError, table: tuple[tuple[type[GatewayError], str], ...]) -> str:
    return next((word for family, word in table if isinstance(error, family)), table[-1][1])
