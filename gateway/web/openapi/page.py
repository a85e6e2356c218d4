"""The document as a page for people: routes by subject, each with its parameters and shapes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway.web.openapi.operations import JSON
from gateway.web.openapi.schemas import SENT

#: Stands for the gateway's address in commands; the page's script puts its own in.
ORIGIN = "http://127.0.0.1:8080"
_LINE = 72


@dataclass(frozen=True, slots=True)
class Answer:
    """One status of an operation."""

    status: str
    description: str
    headers: dict[str, Any]
    schema: dict[str, Any] | None
    media_types: tuple[str, ...]
    #: By name, as texts.
    examples: dict[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """One operation, as the page shows it."""

    method: str
    path: str
    told: dict[str, Any]
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None
    scopes: list[str]
    commands: dict[str, str]
    answers: list[Answer]


def page(document: dict[str, Any]) -> str:
    """The HTML."""
    environment = Environment(
        loader=PackageLoader("gateway.web.openapi"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words=words, prose=prose, broken=broken)
    shown = [
        _shown(method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]
    return environment.get_template("docs.html").render(
        document=document,
        groups=[
            (tag, [one for one in shown if tag["name"] in one.told["tags"]])
            for tag in document["tags"]
        ],
        shared=list(_answers(document["components"]["responses"])),
        schemas=sorted(document["components"]["schemas"].items()),
        sent=SENT,
    )


def _shown(method: str, path: str, told: dict[str, Any]) -> Shown:
    content = told.get("requestBody", {}).get("content", {})
    security = [one for one in told.get("security", []) if one]
    own = {status: one for status, one in told["responses"].items() if "$ref" not in one}
    return Shown(
        method=method.upper(),
        path=path,
        told=told,
        parameters=told.get("parameters", []),
        body=told.get("requestBody"),
        scopes=next(iter(security[0].values())) if security else [],
        commands=_commands(method, path, told, content.get(JSON, {})),
        answers=list(_answers(own)),
    )


def _answers(responses: dict[str, Any]) -> Iterator[Answer]:
    for status, one in responses.items():
        content = one.get("content", {})
        first: dict[str, Any] = next(iter(content.values()), {})
        yield Answer(
            status.removeprefix("Any"),
            one["description"],
            one.get("headers", {}),
            first.get("schema") if JSON in content else None,
            tuple(content),
            {
                name: laid_out(example["value"])
                for name, example in first.get("examples", {}).items()
            },
        )


def _commands(
    method: str, path: str, told: dict[str, Any], content: dict[str, Any]
) -> dict[str, str]:
    """curl for each example of a body, or one where there is none to send."""
    options = []
    for parameter in told.get("parameters", []):
        if "example" in parameter and parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", str(parameter["example"]))
        elif "example" in parameter and parameter["in"] == "header":
            options += ["-H", shlex.quote(f"{parameter['name']}: {parameter['example']}")]
    security = told.get("security", [])
    if security and {} not in security:
        options += ["-H", '"Authorization: Bearer $KEY"']
    begin = f"curl -s {shlex.quote(ORIGIN + path)}"
    examples = content.get("examples", {})
    if method == "get":
        return {"": " ".join([begin, *options])}
    options += ["-H", shlex.quote(f"Content-Type: {JSON}")]
    return {
        name: " ".join(
            [begin, *options, "-d", shlex.quote(json.dumps(one["value"], ensure_ascii=False))]
        )
        for name, one in examples.items()
    }


def laid_out(value: Any, indent: str = "") -> str:
    """JSON in lines that are neither empty nor long, as a person would write it."""
    whole = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(whole) <= _LINE:
        return whole
    within = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {laid_out(one, within)}" for key, one in value.items()]
        begin, end = "{", "}"
    else:
        parts = [laid_out(one, within) for one in value]
        begin, end = "[", "]"
    return f"{begin}\n{within}" + f",\n{within}".join(parts) + f"\n{indent}{end}"


def broken(path: str) -> Markup:
    """A path that may be broken between its parts."""
    return Markup("<wbr>/").join(path.split("/"))


def prose(text: str) -> Markup:
    """Plain text with `code` in it, and empty lines between paragraphs."""
    parts = text.split("\n\n")
    return Markup("").join(Markup("<p>{}</p>").format(_line(part)) for part in parts)


def _line(text: str) -> Markup:
    quoted = str(escape(text))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", quoted))  # noqa: S704 (escaped above)


def words(schema: Any) -> Markup:
    """What a value must be, in words, with links to the shapes it speaks of."""
    if schema is True or schema == {} or not isinstance(schema, dict):
        return Markup("any JSON")
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#shape-{0}">{0}</a>').format(name)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema and "properties" not in schema:
            # An error's narrower type stands in its own column.
            parts = [
                one
                for one in schema[key]
                if one is True or len(one) > 1 or "$ref" in one or "type" in one or "enum" in one
            ]
            return Markup(" or ").join(map(words, parts))
    if "enum" in schema:
        listed = (Markup("<code>{}</code>").format(one) for one in schema["enum"])
        return Markup(" or ").join(listed)
    return _by_type(schema)


def _by_type(schema: dict[str, Any]) -> Markup:
    kind = schema.get("type")
    if kind is None:
        return Markup("any JSON")
    if isinstance(kind, list):
        return Markup(" or ").join(map(escape, kind))
    if kind == "array":
        return Markup("list of {}").format(words(schema.get("items", {})))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("by name: {}").format(words(schema["additionalProperties"]))
    if "title" in schema and kind == "object":
        return escape(schema["title"])
    form = schema.get("format")
    return Markup("{} ({})").format(kind, form) if form else escape(kind)
