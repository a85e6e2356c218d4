"""Models with scikit-learn's `predict`: a whole frame in one call, and only culprits fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from . import texts
from .answers import Answered, Quick, Unsuited, by_model, by_quick, finite, within
from .estimator import Estimator
from .frames import ERROR, INVALID, OK, Reply, refusal
from .own import WrongAnswer
from .rows import InvalidRows, Reader, Rows, decoded, normalised
from .turns import singly

_CALLERS_FAULT = (ValueError, TypeError, OverflowError)


class Standard:
    """Answers frames with one model call where everything in them is plain numbers."""

    together = True

    def __init__(
        self,
        estimator: Estimator,
        *,
        strict: bool,
        redact: frozenset[str],
        withhold: bool,
        quick: Quick | None = None,
        why: str = "",
    ) -> None:
        self.form = quick.name if quick is not None else None
        self.why = why
        self.kind = estimator.kind
        self.columns = estimator.columns
        self.classes = estimator.classes
        self._estimator = estimator
        self._quick = quick
        self._model = estimator.model
        self._redact = redact
        self._withhold = withhold
        self._reader = Reader(
            estimator.columns,
            estimator.width,
            strict=strict,
            withhold=withhold,
            takes_text=estimator.takes_text,
            textual=estimator.textual,
        )
        self._strict = strict
        self._of_sklearn = type(self._model).__module__.startswith("sklearn.")
        self._pick = _picker(estimator.columns)
        #: One row that was answered: tells a caller's mistake from a broken model.
        self._good: Any = None
        if estimator.width and not (estimator.frame or estimator.textual):
            self._good = np.zeros((1, estimator.width))

    def answer(self, payloads: Sequence[bytes], deadlines: Sequence[float] = ()) -> list[Reply]:
        try:
            read, extra, matrix = self._numbers(payloads)
        except Exception:
            # Which says what is wrong, and with which of them.
            return self._carefully(payloads, deadlines)
        try:
            answered = self._called(self._framed(matrix), matrix)
            replies, start = [], 0
            for instances, ignored in zip(read, extra):
                end = start + len(instances)
                replies.append(self._reply(instances, ignored, start, end, answered))
                start = end
        except BaseException as error:
            if len(payloads) == 1:
                return [self._failure(error)]
            if finite(matrix):
                return singly(self._by_itself, payloads, deadlines)
            return self._carefully(payloads, deadlines)  # those without nulls in one call
        return replies

    def _numbers(self, payloads: Sequence[bytes]) -> tuple[list[list[Any]], list[int], Any]:
        """Requests that are nothing but numbers and nulls, as one matrix; else any exception."""
        if texts.decode_numbers is None or self._estimator.textual:
            raise InvalidRows("these need the careful way")
        read: list[list[Any]] = list(map(texts.decode_numbers, payloads))
        rows: list[Any] = []
        extra = [0] * len(read)
        for number, instances in enumerate(read):
            if type(instances[0]) is dict:
                extra[number] = self._extra(instances)
                rows += map(self._pick, instances)
            else:
                rows += instances
        matrix = np.array(rows, dtype=np.float64)
        if matrix.ndim != 2 or self._estimator.width not in (None, matrix.shape[1]):
            raise InvalidRows("not one row like the other")
        return read, extra, matrix

    def _extra(self, instances: list[dict[str, Any]]) -> int:
        width = self._estimator.width
        if max(map(len, instances)) == width:
            return 0
        if self._strict or self.columns is None:
            raise InvalidRows("unknown columns")
        return len(set().union(*instances).difference(self.columns))

    def _reply(
        self,
        instances: Sequence[Any],
        ignored: int,
        start: int,
        end: int,
        answered: Answered,
    ) -> Reply:
        redact = self._redact
        predictions, probabilities = answered
        return Reply(
            OK,
            ignored,
            texts.encode(predictions[start:end]),
            b"" if probabilities is None else texts.encode(probabilities[start:end]),
            texts.encode(normalised(instances, self.columns, redact)) if redact else b"",
        )

    def _by_itself(self, payload: bytes) -> Reply:
        return self._carefully([payload], ())[0]

    def _carefully(self, payloads: Sequence[bytes], deadlines: Sequence[float]) -> list[Reply]:
        """Each request read by itself; like with like in one call; after a failure, singly."""
        replies: list[Reply | None] = [None] * len(payloads)
        groups: dict[tuple[frozenset[int], bool, int], list[tuple[int, Rows]]] = {}
        for place, payload in enumerate(payloads):
            try:
                rows = self._reader.read(payload)
            except InvalidRows as error:
                replies[place] = refusal(INVALID, str(error))
                continue
            key = (rows.textual, rows.complete, len(rows.rows[0]))
            groups.setdefault(key, []).append((place, rows))
        for group in groups.values():
            for place, reply in self._grouped(group, payloads, deadlines):
                replies[place] = reply
        return [reply for reply in replies if reply is not None]

    def _grouped(
        self,
        group: list[tuple[int, Rows]],
        payloads: Sequence[bytes],
        deadlines: Sequence[float],
    ) -> list[tuple[int, Reply]]:
        together = [row for _, rows in group for row in rows.rows]
        try:
            answered = self._called(*self._data(together, group[0][1].textual))
            replies, start = [], 0
            for place, rows in group:
                end = start + len(rows.rows)
                given = decoded(payloads[place], withhold=True) if self._redact else ()
                replies.append((place, self._reply(given, rows.ignored, start, end, answered)))
                start = end
        except BaseException as error:
            if len(group) == 1:
                return [(group[0][0], self._failure(error))]
            places = [place for place, _ in group]
            alone = singly(
                lambda one: self._grouped([one], payloads, ())[0][1],
                group,
                [deadlines[place] for place in places] if deadlines else (),
            )
            return list(zip(places, alone))
        return replies

    def _data(self, rows: list[list[Any]], textual: frozenset[int]) -> tuple[Any, Any]:
        """What the model is called with, and the numbers in it to look for infinities."""
        if not textual:
            matrix = np.array(rows, dtype=np.float64)
            return self._framed(matrix), matrix
        if self._estimator.frame:
            import pandas as pd

            columns = self.columns or ()
            series = {
                name: pd.Series(
                    [row[index] for row in rows],
                    dtype=object if index in textual else np.float64,
                )
                for index, name in enumerate(columns)
            }
            return pd.DataFrame(series, columns=list(columns)), None
        objects = np.empty((len(rows), len(rows[0])), dtype=object)
        objects[:] = rows
        return objects, None

    def _framed(self, matrix: Any) -> Any:
        if not self._estimator.frame:
            return matrix
        import pandas as pd

        return pd.DataFrame(matrix, columns=self.columns)

    def _called(self, data: Any, numbers: Any) -> Answered:
        plain = numbers is not None and finite(numbers)
        answered = self._quickly(numbers, plain) if self._quick is not None else None
        if answered is None:
            answered = self._by_model(data, plain)
        self._good = data[:1]
        return answered

    def _quickly(self, numbers: Any, plain: bool) -> Answered | None:
        """By the quick form, where it knows such rows."""
        quick = self._quick
        if quick is None or numbers is None:
            return None
        if not plain and not (quick.missing and within(numbers)):
            return None
        try:
            return by_quick(self._estimator, quick, numbers, not plain)
        except Unsuited:
            return None

    def _by_model(self, data: Any, plain: bool) -> Answered:
        if plain or not self._of_sklearn:
            return by_model(self._estimator, data)
        import sklearn

        with sklearn.config_context(assume_finite=False):
            return by_model(self._estimator, data)

    def _failure(self, error: BaseException) -> Reply:
        ours = isinstance(error, WrongAnswer)
        message = texts.described(error, withhold=self._withhold and not ours)
        callers = isinstance(error, _CALLERS_FAULT) and self._still_works()
        return refusal(INVALID if callers else ERROR, message)

    def _still_works(self) -> bool:
        if self._good is None:
            return False
        try:
            by_model(self._estimator, self._good)
        except BaseException:
            return False
        return True


def _picker(columns: Sequence[str] | None) -> Callable[[dict[str, Any]], Sequence[Any]]:
    if columns is None:
        return _unnamed
    if len(columns) == 1:
        only = columns[0]
        return lambda row: (row[only],)
    return itemgetter(*columns)


def _unnamed(row: dict[str, Any]) -> Sequence[Any]:
    raise InvalidRows("the model does not name its columns")
