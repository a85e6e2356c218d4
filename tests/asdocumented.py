"""Holds answers of a gateway against its OpenAPI document: status, headers, type and every field.

The document allows for fields to come; here one that it does not name is a mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from gateway.config import Config
from gateway.web.openapi.document import document
from gateway.web.openapi.serving import FILES

#: What the console asks for its page, which is no interface.
OWN = "/console/"
_DOCUMENT = "urn:document"


def made(**settings: Any) -> dict[str, Any]:
    """The document, as it is sent, of a gateway of one branch."""
    config = {"repository": "r", "baseline": "prod", "branches": {"prod": {"weight": 1}}}
    found = document(Config.model_validate({**config, **settings}), FILES)
    sent: dict[str, Any] = json.loads(json.dumps(found))
    return sent


def strict(schema: Any) -> Any:
    """The same without room for fields that it does not name."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(part) for name, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        found.setdefault("additionalProperties", False)
    return found


class Documented:
    """One document, and what may be asked of it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        resource = DRAFT202012.create_resource(strict(dict(document)))
        self._registry: Registry[Any] = Registry().with_resource(_DOCUMENT, resource)
        self._validators: dict[tuple[str, ...], Draft202012Validator] = {}

    def paths_of(self, path: str) -> list[str]:
        """The path as the document has it; more than one where a name has slashes of its own."""
        found = [one for one in self.document["paths"] if _pattern(one).fullmatch(path)]
        return sorted(found, key=lambda one: (-one.count("/"), one.count("{")))

    def errors(self, value: Any, *place: str) -> list[str]:
        """What is wrong with a value, by the schema at a place of the document."""
        if place not in self._validators:
            pointer = "/".join(part.replace("~", "~0").replace("/", "~1") for part in place)
            self._validators[place] = Draft202012Validator(
                {"$ref": f"{_DOCUMENT}#/{pointer}"},
                registry=self._registry,
                format_checker=FormatChecker(),
            )
        found = self._validators[place].iter_errors(value)
        return [f"{error.json_path}: {error.message[:300]}" for error in found]

    def check(self, method: str, path: str, answer: httpx.Response) -> None:
        """AssertionError if such an answer is not documented."""
        names = self.paths_of(path)
        said = f"{method} {path} answered {answer.status_code}: {answer.text[:2000]}"
        if not names:
            assert answer.status_code == 404, f"no such path is documented; {said}"
        for place, name in enumerate(names, start=1):
            try:
                self._check(method, name, answer, said)
                return
            except AssertionError:
                if place == len(names):
                    raise

    def _check(self, method: str, name: str, answer: httpx.Response, said: str) -> None:
        operation = self.document["paths"][name].get(method.lower())
        if operation is None:
            assert answer.status_code == 405, f"no such method is documented; {said}"
            return
        status = str(answer.status_code)
        assert status in operation["responses"], f"no such status is documented; {said}"
        place = ["paths", name, method.lower(), "responses", status]
        response = operation["responses"][status]
        if "$ref" in response:
            place = response["$ref"].removeprefix("#/").split("/")
            response = self.document["components"]["responses"][place[-1]]
        for header, told in response.get("headers", {}).items():
            assert header in answer.headers or not told["required"], f"{header} lacks; {said}"
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        assert media_type in response["content"], f"{media_type!r} is not documented; {said}"
        if media_type == "application/json":
            wrong = self.errors(answer.json(), *place, "content", media_type, "schema")
            assert not wrong, "\n".join([*wrong[:20], said])


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, re.split(r"\{\w+\}", path))))


@cache
def usual() -> Documented:
    """Of a gateway with the usual settings: what is answered is the same with all others."""
    return Documented(made())


def check(method: str, path: str, answer: httpx.Response) -> None:
    """AssertionError if a gateway's answer is not as documented."""
    if not path.startswith(OWN):
        usual().check(method, path.partition("?")[0], answer)
