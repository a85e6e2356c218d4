"""A branch's own `predict(model, instances)`: one request a call, unless it is ROW_WISE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import texts
from .frames import ERROR, INVALID, OK, Reply, refusal
from .rows import InvalidRows, decoded, normalised
from .turns import singly


class WrongAnswer(Exception):
    """What predict returned cannot be an answer. The message holds no values."""


class Own:
    """Answers frames through the branch's function; instances go to it as the caller sent them."""

    kind = "custom"
    form = None
    why = "src/serve.py: its own predict answers"

    def __init__(
        self,
        model: Any,
        predict: Callable[[Any, list[Any]], Any],
        *,
        row_wise: bool,
        columns: Sequence[str] | None,
        classes: list[Any] | None,
        redact: frozenset[str],
        withhold: bool,
    ) -> None:
        self.columns = columns
        self.classes = classes
        self._model = model
        self._predict = predict
        self.together = row_wise
        self._redact = redact
        self._withhold = withhold

    def answer(self, payloads: Sequence[bytes], deadlines: Sequence[float] = ()) -> list[Reply]:
        read: list[list[Any] | Reply] = []
        for payload in payloads:
            try:
                read.append(decoded(payload, withhold=self._withhold))
            except InvalidRows as error:
                read.append(refusal(INVALID, str(error)))
        good = [instances for instances in read if isinstance(instances, list)]
        together = self._together(good) if self.together and len(good) > 1 else None
        if together is None:
            pairs = zip(read, deadlines)
            together = singly(self._alone, good, [d for item, d in pairs if isinstance(item, list)])
        replies = iter(together)
        return [next(replies) if isinstance(item, list) else item for item in read]

    def _together(self, requests: list[list[Any]]) -> list[Reply] | None:
        """All requests in one call; None if that fails, and they are to be run singly."""
        try:
            predictions, probabilities = self._called([row for rows in requests for row in rows])
            replies, start = [], 0
            for instances in requests:
                end = start + len(instances)
                part = None if probabilities is None else probabilities[start:end]
                replies.append(self._reply(instances, predictions[start:end], part))
                start = end
        except BaseException:
            return None
        return replies

    def _alone(self, instances: list[Any]) -> Reply:
        try:
            return self._reply(instances, *self._called(instances))
        except BaseException as error:
            withhold = self._withhold and not isinstance(error, WrongAnswer)
            return refusal(ERROR, texts.described(error, withhold=withhold))

    def _called(self, instances: list[Any]) -> tuple[list[Any], list[Any] | None]:
        # A copy, where the rows are needed afterwards: the branch may change what it is given.
        given = texts.decode(texts.encode(instances)) if self._redact else instances
        count = len(instances)
        result = self._predict(self._model, given)
        probabilities = None
        if isinstance(result, dict):
            if "predictions" not in result:
                raise WrongAnswer("predict returned an object without 'predictions'")
            probabilities = result.get("probabilities")
            result = result["predictions"]
        return (
            as_list(result, count, "predictions"),
            None if probabilities is None else as_list(probabilities, count, "probabilities"),
        )

    def _reply(
        self, instances: list[Any], predictions: list[Any], probabilities: list[Any] | None
    ) -> Reply:
        redact = self._redact
        kept = texts.encode(normalised(instances, self.columns, redact)) if redact else b""
        return Reply(
            OK,
            0,
            texts.encode(predictions),
            b"" if probabilities is None else texts.encode(probabilities),
            kept,
        )


def as_list(result: Any, count: int, what: str) -> list[Any]:
    """One item per instance, or WrongAnswer saying how many there were."""
    if isinstance(result, (str, bytes)) or (
        not hasattr(result, "__iter__") and not hasattr(result, "tolist")
    ):
        raise WrongAnswer(f"predict must return a list of {what}. Given: {type(result).__name__}")
    tolist = getattr(result, "tolist", None)
    listed = tolist() if callable(tolist) else list(result)
    if not isinstance(listed, list) or len(listed) != count:
        given = len(listed) if isinstance(listed, list) else 1
        raise WrongAnswer(f"predict returned {given} {what} for {count} instances")
    return listed
