"""The document by itself: whole, valid, and with nothing that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from asdocumented import OWN, Documented, made
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from gateway import __version__
from gateway.config import Config
from gateway.console.page import Console
from gateway.errors import GatewayError
from gateway.web.errors import TABLE
from gateway.web.openapi.answers import TYPES
from gateway.web.openapi.document import TAGS
from gateway.web.openapi.schemas import schemas
from gateway.web.openapi.serving import Documentation
from gateway.web.openapi.told import RENAMED, TOLD
from gateway.web.pages import application
from gateway.web.permissions import PERMISSIONS

SETTINGS: list[dict[str, Any]] = [
    {},
    {
        "unit": ["body:account", "header:X-Account", "cookie:visitor"],
        "limits": {"rows": 3},
        "access": {"anonymous": ["read"]},
    },
    {
        "metrics": {"bought": {"kind": "binary", "role": "primary"}},
        "access": {"anonymous": []},
    },
]


def config(**settings: Any) -> Config:
    return Config.model_validate(
        {"repository": "r", "baseline": "prod", "branches": {"prod": {"weight": 1}}, **settings}
    )


CONSOLE = ("snapshots", "events", "explain", "traffic", "timeline", "intervals", "repository")


class Anything:
    """A room of which only the doors are looked at."""

    def __getattr__(self, name: str) -> Any:
        async def door(request: Any) -> None: ...

        return door


def routes() -> set[tuple[str, str]]:
    """Method and path of every route of the application, as a document writes them."""
    room = cast(Any, Anything())
    documentation = Documentation(lambda: config()).routes
    app = application(
        predict=room,
        feedback=room,
        experiment=room,
        status=room,
        views=room,
        webhooks=room,
        health=room,
        operating=room,
        documentation=documentation,
        guard=room,
        console=Console(**dict.fromkeys(CONSOLE, room)).routes,
        lifespan=room,
    )
    found = set()
    for route in cast(Any, app)._app.routes:
        assert isinstance(route, Route)
        path = re.sub(r":\w+\}", "}", route.path)
        found |= {(method, path) for method in (route.methods or set()) - {"HEAD"}}
    return found


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_every_route_is_documented_and_nothing_else() -> None:
    documented = {(method.upper(), path) for method, path, _ in operations(made())}
    # What the console asks for its page is its own.
    assert documented == {(method, path) for method, path in routes() if OWN not in path}
    told = {re.sub(r":\w+\}", "}", path) for _, path in PERMISSIONS if not path.startswith(OWN)}
    assert {path for _, path in documented} == told


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_valid_openapi_for_all_settings(settings: dict[str, Any]) -> None:
    found = made(**settings)
    assert [str(error) for error in OpenAPIV31SpecValidator(found).iter_errors()] == []
    assert found["info"]["version"] == __version__


def test_every_shape_is_used_and_every_reference_leads_to_one() -> None:
    found = made()
    used = set(re.findall(r'"#/components/(\w+/\w+)"', json.dumps(found)))
    used |= {"securitySchemes/key", "securitySchemes/basic"}
    there = {f"{kind}/{name}" for kind, parts in found["components"].items() for name in parts}
    assert used == there


def test_every_subject_has_routes_and_every_route_a_subject() -> None:
    assert {tag for *_, operation in operations(made()) for tag in operation["tags"]} == set(TAGS)


def test_what_is_told_of_fields_is_told_of_fields_that_are_there() -> None:
    names = {new: old for old, new in RENAMED.items()}
    there = {
        f"{names.get(shape, shape)}.{field}"
        for shape, schema in schemas(config()).items()
        for field in schema.get("properties", {})
    }
    assert set(TOLD) - there == set()


def test_every_family_of_errors_is_documented_with_its_word() -> None:
    for family, status, word in TABLE:
        if family is not GatewayError:
            assert word in TYPES[str(status)], family
    answered = {status for *_, operation in operations(made()) for status in operation["responses"]}
    assert {str(status) for _, status, _ in TABLE} - answered == set()


def test_a_key_is_asked_for_where_the_scopes_say_so() -> None:
    found = made(access={"anonymous": ["read"]})
    asked = {
        (method.upper(), path): operation.get("security")
        for method, path, operation in operations(found)
    }
    assert asked["POST", "/predict"] == [{"key": ["predict"]}, {"basic": ["predict"]}]
    assert asked["GET", "/branches"] == [{}, {"key": ["read"]}, {"basic": ["read"]}]
    free = {route for route, security in asked.items() if security is None}
    assert free == {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/webhooks/git")}
    both = {"key": ["predict", "override"]}, {"basic": ["predict", "override"]}
    assert asked["POST", "/branches/{branch}/predict"] == [*both]


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_example_is_of_the_shape_that_it_is_an_example_of(settings: dict[str, Any]) -> None:
    found = made(**settings)
    documented = Documented(found)
    seen = 0
    for place, content in contents(found, ()):
        for name, example in content.get("examples", {}).items():
            wrong = documented.errors(example["value"], *place, "schema")
            assert wrong == [], (place, name)
            seen += 1
    assert seen > 40


def contents(part: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every media type of the document that has a schema, and where."""
    if isinstance(part, dict):
        if place[-2:-1] == ("content",) and "schema" in part:
            yield place, part
        for name, inner in part.items():
            if name not in ("schemas", "examples"):
                yield from contents(inner, (*place, name))


def test_bounds_and_sources_are_those_of_the_settings() -> None:
    found = made(**SETTINGS[1])
    predict = found["components"]["schemas"]["Predict"]["properties"]
    assert predict["instances"]["maxItems"] == 3
    assert set(predict) == {"instances", "account"}
    parameters = found["paths"]["/predict"]["post"]["parameters"]
    assert {(one["in"], one["name"]) for one in parameters} == {
        ("header", "Gateway-Branch"),
        ("query", "branch"),
        ("header", "X-Account"),
        ("cookie", "visitor"),
        ("header", "Gateway-Timeout-Ms"),
    }


def test_the_check_of_answers_finds_a_field_that_is_not_documented() -> None:
    documented = Documented(made())
    place = ("paths", "/healthz", "get", "responses", "200", "content", "application/json")
    assert documented.errors({"status": "ok"}, *place, "schema") == []
    assert len(documented.errors({"status": "ok", "more": 1}, *place, "schema")) == 1
    assert len(documented.errors({"status": "well"}, *place, "schema")) == 1
