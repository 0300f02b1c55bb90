"""How a panel of ours looks: its queries, legends, unit and thresholds. Not which panels there are."""

from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common as shared
from grafana_foundation_sdk.builders import prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

USD = "currencyUSD"
RATIO = "percentunit"
COUNT = "short"
SECONDS = "s"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, BAD = "green", "red"

Panel = TypeVar("Panel", stat.Panel, timeseries.Panel, table.Panel)


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and what its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a panel shows. From `bad_from` up it is painted red, and below `good_from`."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = USD
    bad_from: float | None = None
    good_from: float | None = None


def number(figure: Figure) -> stat.Panel:
    """One figure, large; 0 when there is nothing."""
    panel = stat.Panel().graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE).no_value("0")
    panel.reduce_options(shared.ReduceDataOptions().calcs(["lastNotNull"]))
    for target in _targets(figure):
        panel.with_target(target.instant())
    return _dressed(panel, figure).height(4).span(4)


def chart(figure: Figure, *, stacked: bool = False, width: int = 8) -> timeseries.Panel:
    """A line for each series, or areas on top of each other."""
    legend = shared.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    panel = timeseries.Panel().legend(legend).fill_opacity(30 if stacked else 5).min(0)
    if stacked:
        panel.stacking(shared.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if figure.bad_from is not None:
        panel.thresholds_style(shared.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for target in _targets(figure):
        panel.with_target(target)
    return _dressed(panel, figure).height(8).span(width)


def rows(figure: Figure, columns: dict[str, str], *, units: dict[str, str]) -> table.Panel:
    """A row for each combination of labels and a column for each query; `columns` are those to show, renamed."""
    panel = table.Panel()
    for target in _targets(figure):
        panel.with_target(target.instant().format(PromQueryFormat.TABLE))
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    shown = {"include": {"names": list(columns)}}
    panel.with_transformation(DataTransformerConfig(id_val="filterFieldsByName", options=shown))
    order = {name: place for place, name in enumerate(columns)}
    renamed = {"indexByName": order, "renameByName": columns}
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=renamed))
    for column, unit in units.items():
        panel.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
    return _dressed(panel, figure).height(8).span(24)


def prose(title: str, markdown: str) -> text.Panel:
    """Words instead of figures."""
    return text.Panel().title(title).mode(TextMode.MARKDOWN).content(markdown).height(8).span(24)


def _targets(figure: Figure) -> list[prometheus.Dataquery]:
    targets: list[prometheus.Dataquery] = []
    for letter, query in zip("ABCDEF", figure.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE)
        targets.append(target.legend_format(query.legend) if query.legend else target)
    return targets


def _dressed(panel: Panel, figure: Figure) -> Panel:
    panel.title(figure.title).description(figure.description).unit(figure.unit).datasource(SOURCE)
    if figure.bad_from is not None:
        panel.thresholds(_thresholds(GOOD, figure.bad_from, BAD))
    elif figure.good_from is not None:
        panel.thresholds(_thresholds(BAD, figure.good_from, GOOD))
    return panel


def _thresholds(below: str, value: float, above: str) -> ThresholdsConfig:
    steps = [Threshold(value=None, color=below), Threshold(value=value, color=above)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
