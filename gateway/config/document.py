"""The door to gateway.yaml: its text becomes `Config`, or one `ConfigError` with every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.mistakes import explain, given, line
from gateway.config.positions import Document, Mistake, NotYaml, Place, Position, read
from gateway.config.settings import CONTRADICTIONS, Config, as_path, contradictions, is_address
from gateway.errors import ConfigError

MOST_BYTES = 1024**2


def load_config(path: Path) -> Config:
    """The settings in a file, its relative paths resolved against the file's folder."""
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{name}: cannot be read: {error.strerror or error}"]) from None
    if len(content) > MOST_BYTES:
        raise ConfigError([f"{name}: must be at most 1 MiB of YAML; it is larger"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row, column = _row_and_column(content[: error.start])
        raise ConfigError([f"{name}:{row}:{column}: must be UTF-8; this byte is not"]) from None
    return _anchored(parse_config(text, name), path.absolute().parent)


def parse_config(text: str, name: str) -> Config:
    """The settings in a text that messages call `name`; relative paths stay as they are."""
    try:
        found = read(text)
    except NotYaml as error:
        raise ConfigError([line(name, error.mistake)]) from None
    if not isinstance(found.value, dict):
        found.mistakes.append(_not_a_mapping(found.value))
    else:
        try:
            config = Config.model_validate(found.value)
        except ValidationError as error:
            found.mistakes.extend(_mistakes(error, found))
        else:
            if not found.mistakes:
                return config
    raise ConfigError([line(name, mistake) for mistake in _in_order(found.mistakes)])


def _mistakes(error: ValidationError, found: Document) -> list[Mistake]:
    """What each setting says about itself, and what the settings say about one another.

    Pydantic compares settings only once each of them is right; a person wants it all at once.
    """
    errors = [e for e in error.errors(include_url=False) if e["type"] != CONTRADICTIONS]
    mistakes = explain(errors, Config, found)
    wrong = {mistake.path for mistake in mistakes} | {mistake.path for mistake in found.mistakes}
    settings = {key: value for key, value in found.value.items() if (key,) not in wrong}
    branches = settings.get("branches", {})
    sound = not any(path[:1] == ("branches",) for path in wrong)
    for setting, message in contradictions(
        baseline=settings.get("baseline"),
        names=list(branches),
        weights=[branch.get("weight", 0) for branch in branches.values()] if sound else None,
        unit_keys={key for key in ("unit_key_env", "unit_key_file") if settings.get(key)},
    ):
        place = found.values.get((setting,), (1, 1))
        shown = given((setting,), settings[setting]) if setting == "baseline" else ""
        mistakes.append(Mistake(place, (setting,), message + shown))
    return mistakes


def _in_order(mistakes: list[Mistake]) -> list[Mistake]:
    """By place; of several about one value the first, since the others follow from it."""
    first: dict[tuple[Position, Place], Mistake] = {}
    for mistake in mistakes:
        first.setdefault((mistake.position, mistake.path), mistake)
    return sorted(first.values(), key=lambda mistake: mistake.position)


def _not_a_mapping(value: Any) -> Mistake:
    if value is None:
        return Mistake((1, 1), (), "is empty: it needs at least repository, baseline and branches")
    return Mistake((1, 1), (), "must be a mapping of settings" + given((), value))


def _row_and_column(before: bytes) -> tuple[int, int]:
    return before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1


def _anchored(config: Config, folder: Path) -> Config:
    """Relative paths resolved; an address (`…://`, and git's `host:path`) is none."""
    changed: dict[str, Any] = {"state_dir": folder / config.state_dir}
    if config.unit_key_file is not None:
        changed["unit_key_file"] = folder / config.unit_key_file
    if not is_address(config.repository):
        changed["repository"] = str(folder / as_path(config.repository))
    return config.model_copy(update=changed)
