"""The plan of the house, kept: imports go down only, and rooms stay small (DESIGN §3)."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

HOUSE = Path(__file__).parent.parent / "gateway"

#: The longest beginning of a module's name that stands here gives its floor.
FLOORS = {
    0: "names naming errors timestamps scores",
    0.5: "experiments.metrics experiments.allocation"  # shapes that settings speak of
    " access.scopes",
    0.6: "access.rate",  # a bucket, which webhooks have too
    1: "agreement assignment plain statistics drift_metrics chunks"  # pure
    " workers.pace workers.ejection"
    " config.settings config.sections config.quantities config.addresses config.drift"
    " config.mapping config.ramp config.experiment config.exclusion config.contradictions"
    " config.access config.environments config.trust",
    1.5: "layout explaining experiments",  # pure too, over chunks, statistics and assignment
    1.6: "experiment_metrics shared_metrics machine_metrics environment_metrics"
    " containment_metrics",
    1.7: "secret shielding",  # a door that others hand their secrets through
    2: "config journal metrics repositories state store structured_log supervise"  # doors
    " workers.jobs workers.launch workers.output workers.process workers.wire workers.runner"
    " workers.imports workers.containment tables fitted shared",
    2.5: "profiling commands_folder access environments",  # what joins doors
    2.6: "given shared.shipping shared.mirroring shared.state_copy shared.lease",  # over one door
    3: "repositories.watcher workers monitoring routing served sources vitals",  # keepers
    3.5: "recording reload allocations restoring traffic timeline intervals",  # what joins keepers
    3.6: "operating shadows replaying served_model",  # what comes after the record
    4: "web reporting",
    4.5: "console web.openapi",  # pages about what the others say
    5: "app answering listening cli log_options profile_command plan_command"  # the roof
    " command_context key_command monitor_command monitor_for_replicas health_command demo"
    " __main__",
}
STILL_TO_COME: set[str] = set()
FORBIDDEN = {"utils", "base", "common", "helpers", "manager", "types", "logging", "server"}
READS_ENVIRONMENT = ("cli", "command_context", "demo", "workers.runner")


def _modules() -> dict[str, Path]:
    """Every module of the gateway by its name without `gateway.`; files of branches are none."""
    return {
        ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(HOUSE.rglob("*.py"))
        if all(part.isidentifier() for part in path.relative_to(HOUSE).parts[:-1])
        and path != HOUSE / "__init__.py"
    }


MODULES = _modules()
BEGINNINGS = {name: floor for floor, names in FLOORS.items() for name in names.split()}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
LINES = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}


def is_in_child(module: str) -> bool:
    return module.startswith("workers.runner")


def floor_of(module: str) -> float | None:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        floor = BEGINNINGS.get(".".join(parts[:length]))
        if floor is not None:
            return floor
    return None


def ours(tree: ast.AST) -> set[str]:
    """The modules of the gateway that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from gateway.web import status` names a module, `from gateway.names import Unit`
            # a class in one.
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in named if name.removeprefix("gateway.") in MODULES}
            found |= modules or {str(node.module)}
    return {name.removeprefix("gateway.") for name in found if name.startswith("gateway.")}


def is_down(importer: str, imported: str) -> bool:
    here, there = floor_of(importer) or 0, floor_of(imported) or 0
    neighbours = importer.split(".")[0] == imported.split(".")[0]
    return there < here or (there == here and (neighbours or here == max(FLOORS)))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_floor(module: str) -> None:
    assert floor_of(module) is not None, f"give gateway/{module} a floor in FLOORS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    up = {name: floor_of(name) for name in ours(TREES[module]) if not is_down(module, name)}
    assert not up, f"{module} is on floor {floor_of(module)} and imports {up}"


def test_imports_are_absolute() -> None:
    relative = {
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level and not is_in_child(name)
    }
    assert not relative


def test_the_plan_names_no_module_that_is_gone() -> None:
    assert {name for name in BEGINNINGS if name not in MODULES} == STILL_TO_COME


def test_the_child_of_a_branch_imports_nothing_of_ours_and_nobody_imports_it() -> None:
    assert any(is_in_child(name) for name in MODULES)
    for name in MODULES:
        across = {other for other in ours(TREES[name]) if is_in_child(other) or is_in_child(name)}
        assert not across, name


@pytest.mark.parametrize("module", MODULES)
def test_no_room_is_larger_than_it_may_be(module: str) -> None:
    assert LINES[module] <= 400
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{module}.{node.name} has {length} lines"


def test_the_usual_room_is_small() -> None:
    assert median(LINES.values()) < 150


@pytest.mark.parametrize("module", MODULES)
def test_names_say_whose_work_is_done(module: str) -> None:
    assert not FORBIDDEN & set(module.split("."))


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_reads_the_environment(module: str) -> None:
    if module.startswith(READS_ENVIRONMENT):
        return
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            read = f"{node.value.id}.{node.attr}"
            assert read not in ("os.environ", "os.environb", "os.getenv"), f"line {node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_and_public_class_says_what_it_owns(module: str) -> None:
    assert ast.get_docstring(TREES[module]) or not TREES[module].body
    for node in TREES[module].body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name}"


@pytest.mark.parametrize("module", [*filter(is_in_child, MODULES)])
def test_what_runs_on_a_branchs_python_is_read_by_the_oldest_there_may_be(module: str) -> None:
    ast.parse(MODULES[module].read_text(), feature_version=(3, 9))
    tree = TREES[module]
    types = {"list", "dict", "tuple", "set", "int", "float", "str", "bool", "bytes", "None", "Any"}
    noted = {
        id(inner)
        for node in ast.walk(tree)
        for place in ("annotation", "returns")
        if isinstance(written := getattr(node, place, None), ast.AST)
        for inner in ast.walk(written)
    }
    newer = {
        f"{ast.unparse(node)}, line {node.lineno}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) == "zip" and node.keywords)
        or (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.BitOr)
            and id(node) not in noted
            and types & {ast.unparse(side).partition("[")[0] for side in (node.left, node.right)}
        )
    }
    assert not newer, "Python 3.9 has no `zip(strict=…)`, and no `|` of types outside annotations"
