"""A large request as several jobs, one after the other, so that small ones need not wait for it.

Only where rows of several requests may share a call of the model: then they may be parted as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from gateway.errors import GatewayError, InvalidInstances
from gateway.workers.jobs import Answer, Job

#: What a piece has at most; one row may be larger. [1 ms of a worker, where a body of 1 MB took 6.]
PIECE_ROWS = 128
PIECE_BYTES = 128 * 1024

_rows_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


def is_large(job: Job) -> bool:
    """Whether it is more than one piece."""
    return job.rows > 1 and (job.rows > PIECE_ROWS or len(job.payload) > PIECE_BYTES)


class Pieces:
    """Owns a large job until it is answered: `put`s a piece when the one before is answered.

    `told` gets the whole answer.
    """

    def __init__(
        self,
        job: Job,
        put: Callable[[Job], None],
        told: Callable[[list[tuple[Job, Answer]]], None],
    ) -> None:
        self._job = job
        self._put = put
        self._told = told
        self._pieces = list(_parted(_rows_of(job.payload)))
        self._answers: list[Answer] = []
        self._next()

    def _next(self) -> None:
        job, at = self._job, len(self._answers)
        payload, rows = self._pieces[at]
        piece = Job(payload, rows, job.deadline, None, self, job.hurried, job.unit)
        piece.patient, piece.is_piece = job.patient, True
        piece.behind = sum(rows for _, rows in self._pieces[at + 1 :])
        self._put(piece)

    # What a piece is told

    def done(self) -> bool:
        return self._job.future.done()

    def set_result(self, answer: Answer) -> None:
        if self._answers and answer.serving is not self._answers[0].serving:
            self._answers.clear()  # swapped meanwhile: one answer is never of two models
        else:
            self._answers.append(answer)
        if len(self._answers) < len(self._pieces):
            self._next()
        else:
            self._told([(self._job, _joined(self._answers))])

    def set_exception(self, error: GatewayError) -> None:
        if isinstance(error, InvalidInstances):
            self._put(self._job)  # whole: only then its instances have the caller's numbers
        else:
            self._job.future.set_exception(error)


def _parted(rows: Iterable[msgspec.Raw]) -> Iterator[tuple[bytes, int]]:
    """JSON arrays of a piece's rows each, and how many these are."""
    piece: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        length = len(memoryview(row))
        if piece and (len(piece) == PIECE_ROWS or size + length > PIECE_BYTES):
            yield b"[" + b",".join(piece) + b"]", len(piece)
            piece, size = [], 0
        piece.append(row)
        size += length
    yield b"[" + b",".join(piece) + b"]", len(piece)


def _joined(answers: list[Answer]) -> Answer:
    return Answer(
        _array([answer.predictions for answer in answers]),
        _array([answer.probabilities for answer in answers]),
        _array([answer.normalised for answer in answers]),
        max(answer.ignored for answer in answers),
        answers[0].serving,
    )


def _array(arrays: list[bytes]) -> bytes:
    """The elements of several JSON arrays, none of them empty, in one; no text if one has none."""
    return b"[" + b",".join(text[1:-1] for text in arrays) + b"]" if all(arrays) else b""
