"""What all dashboards are made of: panels, variables, lines for events and links.

Everything shown comes from Prometheus. Only fields that Grafana's SDK knows are set, but for the
title of a line for an event, which it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import common as make
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery as AnyQuery
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.dashboard import (
    ThresholdsConfig as Thresholds,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "branch-gateway"
#: What every query selects by; those of one branch by both.
JOB = 'job=~"$job"'
BRANCH = 'job=~"$job", branch=~"$branch"'
RATE = "[$__rate_interval]"
LETTERS = "ABCDEFGHIJ"
GREEN, YELLOW, RED, GREY = "green", "yellow", "red", "text"
#: In twenty-fourths of the page, and in grid rows.
WHOLE, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4


#: A panel of any kind, not yet placed.
Drawn = Builder[Panel]


class _Plain(Protocol):
    """What all kinds of panels have in common."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: DataSourceRef) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def thresholds(self, thresholds: Builder[Thresholds]) -> Self: ...
    def with_target(self, target: Builder[AnyQuery]) -> Self: ...


Kind = TypeVar("Kind", bound=_Plain)


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and what a series of it is called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class About:
    """What every panel says of itself. `steps`: from which value on it is yellow, and red."""

    title: str
    description: str
    unit: str
    span: int = HALF
    height: int = 8
    steps: tuple[float | None, float | None] = (None, None)
    #: Whether little is bad rather than much.
    falling: bool = False


def steps(about: About) -> ThresholdsConfig:
    yellow, red = about.steps
    colours = (RED, YELLOW, GREEN) if about.falling else (GREEN, YELLOW, RED)
    edges = (red, yellow) if about.falling else (yellow, red)
    found = [Threshold(value=None, color=colours[0])]
    for edge, colour in zip(edges, colours[1:], strict=True):
        if edge is not None:
            found.append(Threshold(value=edge, color=colour))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def targets(queries: Sequence[Query], *, instant: bool, is_table: bool = False) -> list[Dataquery]:
    made = []
    for letter, query in zip(LETTERS, queries, strict=False):
        target = Dataquery().ref_id(letter).datasource(PROMETHEUS).expr(query.expr)
        target = target.legend_format(query.legend)
        target = target.instant() if instant else target.range()
        made.append(target.format(PromQueryFormat.TABLE) if is_table else target)
    return made


def told(panel: Kind, about: About, made: Sequence[Dataquery]) -> Kind:
    """With what every panel says of itself, and where it has it from."""
    panel = (
        panel.title(about.title)
        .description(about.description)
        .datasource(PROMETHEUS)
        .unit(about.unit)
        .span(about.span)
        .height(about.height)
        .thresholds(steps(about))
    )
    for target in made:
        panel = panel.with_target(target)
    return panel


def lines(about: About, *queries: Query, stacked: bool = False, signed: bool = False) -> Drawn:
    """Lines over time, with a dashed one at each threshold; `signed` ones may be below 0."""
    panel = (
        told(timeseries.Panel(), about, targets(queries, instant=False))
        .line_width(1 if stacked else 2)
        .fill_opacity(40 if stacked else 8)
        .legend(
            make.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(make.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if not signed:
        panel = panel.min(0)
    if about.steps != (None, None):
        dashed = make.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(dashed)
    if stacked:
        panel = panel.stacking(make.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return panel


def figure(about: About, *queries: Query) -> Drawn:
    """One number, large, with its course behind it; six of them in a row."""
    small = replace(about, span=SIXTH, height=5)
    return (
        told(stat.Panel(), small, targets(queries, instant=False))
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(make.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def bars(about: About, *queries: Query, most: float | None = None) -> Drawn:
    """A bar a series, as it is now: where many are compared, or a bound is looked at."""
    panel = (
        told(bargauge.Panel(), about, targets(queries, instant=True))
        .min(0)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .reduce_options(make.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel if most is None else panel.max(most)


def words(about: About, meanings: dict[str, tuple[str, str]], *queries: Query) -> Drawn:
    """States over time, in words; `meanings` gives each value its word and colour."""
    return (
        told(statetimeline.Panel(), about, targets(queries, instant=False))
        .merge_values(True)
        .mappings([mapping(meanings)])
        .legend(make.VizLegendOptions().show_legend(False))
    )


def mapping(meanings: dict[str, tuple[str, str]]) -> ValueMap:
    return ValueMap(
        options={
            value: ValueMappingResult(text=text, color=colour, index=number)
            for number, (value, (text, colour)) in enumerate(meanings.items())
        }
    )


def rows(
    about: About,
    keys: Sequence[str],
    columns: Mapping[str, Query],
    shown: Mapping[str, Mapping[str, object]] | None = None,
) -> Drawn:
    """A table: a row for each set of `keys`, a column for each query, by its name.

    `shown` says how columns look, where it is not as `about` says.
    """
    made = targets(list(columns.values()), instant=True, is_table=True)
    names = [f"Value #{LETTERS[number]}" for number in range(len(columns))]
    panel = told(table.Panel(), about, made).filterable(True)
    for name, look in (shown or {}).items():
        found = [DynamicConfigValue(id_val=key, value=value) for key, value in look.items()]
        panel = panel.override_by_name(name, found)
    organised = {
        "excludeByName": {"Time": True},
        "indexByName": {name: n for n, name in enumerate((*keys, *names))},
        "renameByName": {
            "Value": next(iter(columns)),
            **dict(zip(names, columns, strict=True)),
        },
    }
    return panel.with_transformation(
        DataTransformerConfig(id_val="merge", options={})
    ).with_transformation(DataTransformerConfig(id_val="organize", options=organised))


def spread(about: About, query: Query) -> Drawn:
    """A histogram over time."""
    (target,) = targets([query], instant=False)
    made = target.format(PromQueryFormat.HEATMAP).legend_format("{{le}}")
    return told(heatmap.Panel(), about, [made]).calculate(False)


def yes_no(bad: str, good: str) -> dict[str, object]:
    """How a column of 0 and 1 looks in a table: 1 is bad."""
    said = ValueMap(
        options={
            "0": ValueMappingResult(text=good, color=GREEN, index=0),
            "1": ValueMappingResult(text=bad, color=RED, index=1),
        }
    )
    return {"mappings": [said.to_json()], "custom.cellOptions": {"type": "color-text"}}


# Variables, lines for events, links


def choice(name: str, label: str, values: str) -> QueryVariable:
    """Any number of the values that there are; all, at first."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(values)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


@dataclass(frozen=True)
class Event:
    """A vertical line at what an expression says of a branch."""

    name: str
    colour: str
    expr: str
    title: str


EVENTS = (
    Event(
        "Swaps",
        "blue",
        "sum by (branch)"
        f' (increase(gateway_reloads_total{{{BRANCH}, result="swapped"}}{RATE})) > 0',
        "{{branch}} serves other content",
    ),
    Event(
        "Ejections",
        "red",
        f"sum by (branch) (increase(gateway_branch_ejections_total{{{BRANCH}}}{RATE})) > 0"
        " or max by (branch) ("
        f'changes(gateway_branch_held{{{BRANCH}, state="ejected"}}{RATE}) > 0'
        f' and gateway_branch_held{{{BRANCH}, state="ejected"}} == 1)',
        "{{branch}} is ejected",
    ),
    Event(
        "Weights",
        "orange",
        f"max by (branch) (changes(gateway_branch_weight_ratio{{{BRANCH}}}{RATE})) > 0",
        "{{branch}} has another weight",
    ),
)


def event(one: Event) -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name(one.name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(one.colour)
        .expr(one.expr)
    )


def dashboard(uid: str, title: str, description: str, *extra: QueryVariable) -> Dashboard:
    """An empty one, with what all of them have."""
    page = (
        Dashboard(f"Branch gateway / {title}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            DashboardLink("Branch gateway")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(choice("job", "Gateway", "label_values(gateway_build_info, job)"))
        .with_variable(
            choice("branch", "Branch", 'label_values(gateway_branch_ready{job=~"$job"}, branch)')
        )
    )
    for variable in extra:
        page = page.with_variable(variable)
    for one in EVENTS:
        page = page.annotation(event(one))
    return page


def filled(page: Dashboard, sections: Mapping[str, Sequence[Drawn]]) -> Dashboard:
    """With the panels of each section, under its title; those of "" stand at the top."""
    for title, panels in sections.items():
        if title:
            page = page.with_row(Row(title))
        for panel in panels:
            page = page.with_panel(panel)
    return page
