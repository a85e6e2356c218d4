"""A line of the log is one JSON object, whatever is said in it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from gateway.structured_log import JsonFormatter, TextFormatter, configure

MOMENT = 1795428000.123


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, given back as pytest had it."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    others = {name: logging.getLogger(name) for name in ("uvicorn.access", "uvicorn.error")}
    before = {name: (other.disabled, other.level) for name, other in others.items()}
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    for name, (disabled, old) in before.items():
        others[name].disabled = disabled
        others[name].setLevel(old)


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.x", logging.WARNING, __file__, 1, message, args, None)
    made.created = MOMENT
    made.__dict__.update(fields)
    return made


@pytest.mark.parametrize("message", ["plain", 'a "quote"', "two\nlines\r\n", "é\u2028\x00\x1b[0m"])
def test_any_message_is_one_line_of_json(message: str) -> None:
    line = JsonFormatter().format(record("%s", message))
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": "2026-11-23T10:00:00.123Z",
        "level": "warning",
        "logger": "gateway.x",
        "message": message,
    }


def test_branch_and_request_id_are_there_where_given_and_nothing_else_is() -> None:
    line = json.loads(
        JsonFormatter().format(record("x", branch="prod", request_id="r", password="secret"))
    )
    assert (line["branch"], line["request_id"]) == ("prod", "r")
    assert "secret" not in json.dumps(line)


def test_an_exception_is_told_inside_the_line() -> None:
    made = record("x")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "RuntimeError: broken" in json.loads(line)["traceback"]
    assert "RuntimeError: broken" in TextFormatter().format(made)


def test_text_is_for_people_with_the_fields_behind() -> None:
    text = TextFormatter().format(record("what %s", "happened", branch="prod"))
    assert text.endswith("warning what happened  (branch=prod)")


def test_lines_go_to_standard_error_as_json_unless_it_is_a_terminal(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    configure("auto", "info")
    logging.getLogger("gateway.x").info("heard", extra={"branch": "prod"})
    logging.getLogger("gateway.x").debug("not heard")
    logging.getLogger("uvicorn.error").info("not heard")
    logging.getLogger("uvicorn.access").info("not heard")
    (line,) = said.getvalue().splitlines()
    assert json.loads(line)["branch"] == "prod"
    said.truncate(0)
    configure("text", "error")
    logging.getLogger("gateway.x").warning("not heard")
    logging.getLogger("gateway.x").error("told")
    assert said.getvalue().strip("\x00").endswith("error   told\n")
