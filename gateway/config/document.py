"""The door to gateway.yaml: its text becomes `Config`, or one `ConfigError` with every mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.config.addresses import FOLDER, as_path, is_address
from gateway.config.contradictions import contradictions
from gateway.config.mapping import Section
from gateway.config.mistakes import explain, given, line, listed
from gateway.config.positions import Document, Mistake, NotYaml, Place, Position, read
from gateway.config.settings import CONTRADICTIONS, Config, OperatorConfig, TeamConfig
from gateway.errors import ConfigError

MOST_BYTES = 1024**2

Settings = TypeVar("Settings", bound=BaseModel)
Operator = TypeVar("Operator", bound=OperatorConfig)

_OPERATORS_OWN = "belongs to the operator's own settings, never to a file in the repository"
_OPERATORS = dict.fromkeys(OperatorConfig.model_fields, _OPERATORS_OWN)
_IN_REPOSITORY = dict.fromkeys(
    TeamConfig.model_fields, "stands in the repository's gateway.yaml when --config-branch is given"
)


def load_config(path: Path) -> Config:
    """The settings in a file, its relative paths resolved against the file's folder."""
    return anchored(_parse(read_text(path), str(path), Config), path.absolute().parent)


def load_operator(path: Path) -> OperatorConfig:
    """The operator's half in a file of its own, beside a gateway.yaml in the repository."""
    found = _parse(read_text(path), str(path), OperatorConfig, _IN_REPOSITORY)
    return anchored(found, path.absolute().parent)


def load_operators_part(path: Path) -> OperatorConfig:
    """The operator's half of a file that may be a whole one, whatever the other half says."""
    found = _parse(read_text(path), str(path), OperatorConfig, dict.fromkeys(_IN_REPOSITORY))
    return anchored(found, path.absolute().parent)


def parse_config(text: str, name: str) -> Config:
    """The settings in a text that messages call `name`; relative paths stay as they are."""
    return _parse(text, name, Config)


def parse_operator(text: str, name: str) -> OperatorConfig:
    """The operator's half in a text."""
    return _parse(text, name, OperatorConfig, _IN_REPOSITORY)


def parse_team(content: bytes, name: str) -> TeamConfig:
    """The half that may stand in the repository; settings of the operator are mistakes there."""
    return _parse(_decoded(content, name), name, TeamConfig, _OPERATORS, ("network",))


def combined(operator: OperatorConfig, team: TeamConfig) -> Config:
    """The whole of both halves, each of which is right by itself."""
    return Config.model_construct(
        _fields_set=operator.model_fields_set | team.model_fields_set,
        **dict(operator),
        **dict(team),
    )


def parse_as(text: str, name: str, model: type[Settings]) -> Settings:
    """Another file of settings than gateway.yaml; all its mistakes at once, as of that one."""
    return _parse(text, name, model)


def read_text(path: Path) -> str:
    """A settings file's text; ConfigError if it cannot be read or is no text."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    return _decoded(content, str(path))


def _decoded(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise ConfigError([f"{name}: must be at most 1 MiB of YAML; it is larger"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row, column = _row_and_column(content[: error.start])
        raise ConfigError([f"{name}:{row}:{column}: must be UTF-8; this byte is not"]) from None


def _parse(
    text: str,
    name: str,
    model: type[Settings],
    not_here: Mapping[str, str | None] = MappingProxyType({}),
    not_of_branches: Sequence[str] = (),
) -> Settings:
    """`not_here` are settings of the other half, each with what is said of it, if anything is.

    `not_of_branches` are those of a branch that are the operator's.
    """
    try:
        found = read(text)
    except NotYaml as error:
        raise ConfigError([line(name, error.mistake)]) from None
    if not isinstance(found.value, dict):
        found.mistakes.append(_not_a_mapping(found.value, model))
    else:
        for key in found.value.keys() & not_here.keys():
            del found.value[key]
            if (message := not_here[key]) is not None:
                found.mistakes.append(Mistake(found.keys[(key,)], (key,), message))
        _take_from_branches(found, not_of_branches)
        try:
            config = model.model_validate(found.value)
        except ValidationError as error:
            found.mistakes.extend(_mistakes(error, found, model))
        else:
            if not found.mistakes:
                return config
    raise ConfigError([line(name, mistake) for mistake in _in_order(found.mistakes)])


def _take_from_branches(found: Document, settings: Sequence[str]) -> None:
    branches = found.value.get("branches")
    for name, branch in branches.items() if isinstance(branches, dict) else ():
        for key in set(settings) & set(branch) if isinstance(branch, dict) else ():
            del branch[key]
            place = ("branches", name, key)
            found.mistakes.append(Mistake(found.keys[place], place, _OPERATORS_OWN))


def _mistakes(error: ValidationError, found: Document, model: type[BaseModel]) -> list[Mistake]:
    """What each setting says about itself, and what the settings say about one another.

    Pydantic compares settings only once each of them is right; a person wants it all at once.
    """
    errors = [e for e in error.errors(include_url=False) if e["type"] != CONTRADICTIONS]
    mistakes = explain(errors, model, found)
    wrong = {mistake.path for mistake in (*mistakes, *found.mistakes)}
    for place, message in contradictions(found.value, wrong):
        mistakes.append(Mistake(found.position(place), place, message + _shown(place, found)))
    return mistakes


def _shown(place: Place, found: Document) -> str:
    """The value that is contradicted, if one stands there that is short enough to repeat."""
    value = found.value
    for step in place:
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None or isinstance(value, dict | list) else given(place, value)


def _in_order(mistakes: list[Mistake]) -> list[Mistake]:
    """By place; of several about one value the first, since the others follow from it."""
    first: dict[tuple[Position, Place], Mistake] = {}
    for mistake in mistakes:
        first.setdefault((mistake.position, mistake.path), mistake)
    return sorted(first.values(), key=lambda mistake: mistake.position)


def _not_a_mapping(value: Any, model: type[BaseModel]) -> Mistake:
    if value is None:
        needed = [name for name, field in model.model_fields.items() if field.is_required()]
        return Mistake((1, 1), (), f"is empty: it needs at least {listed(needed, 'and')}")
    return Mistake((1, 1), (), "must be a mapping of settings" + given((), value))


def _row_and_column(before: bytes) -> tuple[int, int]:
    return before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1


def anchored(config: Operator, folder: Path) -> Operator:
    """Relative paths resolved; an address (`…://`, and git's `host:path`) is none."""
    changed: dict[str, Any] = {"state_dir": folder / config.state_dir}
    if config.unit_key_file is not None:
        changed["unit_key_file"] = folder / config.unit_key_file
    for name in ("access", "tls", "credentials", "webhook", "redis", "environments"):
        section: Section | None = getattr(config, name)
        files = {key: folder / path for key, path in section or () if isinstance(path, Path)}
        if section is not None and files:
            changed[name] = section.model_copy(update=files)
    if config.trust.signed_by is not None:
        signers = tuple(folder / path for path in config.trust.signed_by)
        changed["trust"] = config.trust.model_copy(update={"signed_by": signers})
    if config.repository.startswith(FOLDER):
        path = as_path(config.repository.removeprefix(FOLDER))
        changed["repository"] = f"{FOLDER}{folder / path}"
    elif not is_address(config.repository):
        changed["repository"] = str(folder / as_path(config.repository))
    return config.model_copy(update=changed)
