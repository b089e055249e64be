"""The whole page: sections in order, one file that needs nothing else."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from attention.regular_file import regular_file
from eval.measure.records.schema import Record
from eval.report import tidy
from eval.report.on_card import OnCard
from eval.report.page.all_figures import FIGURES
from eval.report.page.figure import Context, Figure, reproduction
from eval.report.page.four_panels import four_panels
from eval.report.page.glance import glance
from eval.report.page.html_tables import prose, table_html
from eval.report.page.layout_sentence import layout_sentence
from eval.report.page.markup import Markup, element, join, safe
from eval.report.page.prediction import card_section
from eval.report.page.series import Series, all_series
from eval.report.palette import DARK, LIGHT, PAGE_DARK, PAGE_LIGHT
from eval.report.run_facts import CONVENTION, Crossovers, cautions, commands, heading, layouts_of, run_facts
from eval.report.summary import Summary
from eval.report.table import Table
from refmodel.specification import ModelConfig

Section = tuple[str, str, Markup]
"""Anchor, title, content."""

OWN_ANCHORS: Final = frozenset({"first", "glance", "layouts", "main", "numbers", "run", "summary", "tip"})
"""Of what is no figure of the registry."""


def write_html(
    folder: Path, records: Sequence[Record], summaries: Sequence[Summary], crossovers: Sequence[Crossovers],
    tables: Sequence[Sequence[Table]], on_cards: Sequence[OnCard], *, config: ModelConfig, command: str,
) -> Path:  # fmt: skip
    """report.html, report.csv and report.json in `folder`; returns the path of the first.

    `crossovers` and `tables` are those of each summary, `on_cards` what the layouts would take elsewhere.
    """
    series = all_series(layout.name for layout in layouts_of(summaries))
    given = commands(records, command)
    contexts = [Context(summary, *found, series, given) for summary, found in zip(summaries, crossovers, strict=True)]
    facts = run_facts(records, config)
    sections = [("run", "What was run", _run(facts, given))]
    for place, context in enumerate(contexts):
        several = len(contexts) > 1
        sections += _of_setting(
            context, f"{place + 1}-" if several else "", f": {heading(context.summary)}" if several else ""
        )
    for place, of in enumerate(on_cards if contexts else ()):
        prefix = f"card-{place + 1}-"
        sections.append((f"{prefix}section", *card_section(contexts[0], of, prefix)))
    sections.append(("numbers", "The numbers", _numbers(tables, contexts, series)))
    page = _page(config, contexts, facts, sections, series)
    figures = tidy.all_numbers(summaries, crossovers, on_cards)
    run = {"run": facts, "invocation": command, "commands": given}
    for name, text in (
        ("report.html", page),
        ("report.csv", tidy.to_csv(figures)),
        ("report.json", tidy.to_json(figures, run)),
    ):
        regular_file(folder / name).write_text(text, encoding="utf-8")
    return folder / "report.html"


def _of_setting(context: Context, prefix: str, suffix: str) -> list[Section]:
    """The sections of one summary: figure by figure, then layout by layout."""
    made: dict[str, Figure] = {}
    for figure in (figure for make in FIGURES.values() if (figure := make(context))):
        if figure.name in made or figure.name in OWN_ANCHORS or figure.name.endswith("-section"):
            raise ValueError(f"a figure of the page cannot be called {figure.name!r}, as another part of it is")
        made[figure.name] = figure
    sections = [
        (f"{prefix}{figure.name}-section", figure.title + suffix, figure.html(prefix)) for figure in made.values()
    ]
    panels = [_layout(context, layout.name, prefix) for layout in context.summary.layouts]
    intro = element(
        "p", "Four panels a layout: what it costs (full attention's own cost as a grey line), attention's share of the "
        "time, whether its saving is real, and what it loses along the text.", class_="note",
    )  # fmt: skip
    content = join([intro, *panels, reproduction(context.again("linear", "attention", "prefill", "quality"))])
    return [*sections, (f"{prefix}layouts", f"Layout by layout{suffix}", content)]


def _layout(context: Context, layout: str, prefix: str) -> Markup:
    series, figure = context.series[layout], four_panels(context, layout)
    name = f"{prefix}{figure.name}"
    return element(
        "figure", element("h3", series.swatch(), layout, id=name),
        element("p", layout_sentence(context.summary, layout), class_="note"),
        element("div", *figure.panels, class_=f"panels {figure.shape}"),
        class_=f"layout {series.css}", data_v=series.number, aria_labelledby=name,
    )  # fmt: skip


def _run(facts: Sequence[Mapping[str, str]], given: Sequence[str]) -> Markup:
    lists = [
        element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in one.items()))
        for one in facts
    ]
    beside = (
        "Beside this file: the records in `records.jsonl`, the figures in `report.csv`, `report.json`, `report.md`."
    )
    return join([
        *lists,
        *(element("p", "Command: ", element("code", command), class_="again") for command in given),
        element("p", prose(CONVENTION), class_="note"), element("p", prose(beside), class_="note"),
    ])  # fmt: skip


def _numbers(tables: Sequence[Sequence[Table]], contexts: Sequence[Context], series: Mapping[str, Series]) -> Markup:
    parts = []
    for place, some in enumerate(tables):
        if len(contexts) > 1:
            parts.append(element("p", heading(contexts[place].summary), class_="setting"))
        parts += [table_html(table, series, f"table-{place + 1}-{i + 1}") for i, table in enumerate(some) if table]
    return join(parts)


def _page(
    config: ModelConfig, contexts: Sequence[Context], facts: Sequence[Mapping[str, str]], sections: Sequence[Section],
    series: Mapping[str, Series],
) -> str:  # fmt: skip
    files = resources.files("eval.report.page")
    content = (
        element("section", element("h2", title, id=f"{name}-h"), body, id=name, aria_labelledby=f"{name}-h")
        for name, title, body in sections
    )
    device = facts[0]["device"] if facts else ""
    return string.Template((files / "page.html").read_text(encoding="utf-8")).substitute(
        title=safe(f"Attention variants in prefill: {config.name}"),
        model=safe(config.name),
        device=safe(device),
        style=_palette() + (files / "page.css").read_text(encoding="utf-8"),
        script="\n".join((files / name).read_text(encoding="utf-8") for name in ("page.js", "save.js")),
        contents=join(element("li", element("a", title, href=f"#{name}")) for name, title, _ in sections),
        chips=join(_chip(one) for one in series.values()),
        glance=_first(contexts),
        summary=join(_told(context, len(contexts) > 1) for context in contexts),
        sections=join(content, "\n"),
    )


def _chip(series: Series) -> Markup:
    return element(
        "button", series.swatch(), series.name, type="button", aria_pressed="true", data_layout=series.number,
        class_=series.css,
    )  # fmt: skip


def _first(contexts: Sequence[Context]) -> Markup:
    """The picture before any words: of each setting, where it has one."""
    several = len(contexts) > 1
    drawn = [(context, glance(context, f"{place}-" if several else "")) for place, context in enumerate(contexts, 1)]
    parts = []
    for context, figure in drawn:
        if figure:
            parts += [element("p", heading(context.summary), class_="setting")] if several else []
            parts.append(figure)
    if not parts:
        return Markup("")
    head = element("h2", "At a glance", id="first-h")
    return element("section", head, *parts, id="first", aria_labelledby="first-h")


def _told(context: Context, several: bool) -> Markup:
    told = [
        element("li", element("b", series.swatch(), series.name), " ",
                layout_sentence(context.summary, series.name), data_v=series.number, class_=series.css)
        for series, _ in context.shown
    ]  # fmt: skip
    title = element("p", heading(context.summary), class_="setting") if several else ""
    told_first = [element("p", element("b", caution)) for caution in cautions(context.summary)]
    return join([title, *told_first, element("ul", *told, class_="told")])


def _palette() -> str:
    """The colours of the layouts in both schemes, as CSS."""

    def scheme(page: str, colours: Sequence[str]) -> str:
        return f":root{{--page:{page};" + "".join(f"--c{i}:{colour};" for i, colour in enumerate(colours)) + "}"

    dark = f"@media screen and (prefers-color-scheme:dark){{{scheme(PAGE_DARK, DARK)}}}"
    return scheme(PAGE_LIGHT, LIGHT) + dark + "".join(f".s{i}{{--c:var(--c{i})}}" for i in range(len(LIGHT))) + "\n"
