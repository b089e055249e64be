"""The page without a browser: well formed, complete, self-contained, and deaf to what records try to say in HTML."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest

from eval.cost.cards import CARDS
from eval.report.page.markup import Markup, element, join
from eval.report.page.series import all_series, short_names
from eval.report.palette import LIGHT
from eval.report.report_files import write_report
from tests.eval.report.synthetic_records import LAYOUTS, compared, record, synthetic_records

VOID = {"meta", "br", "path", "line", "circle", "rect"}
VARIANTS = (
    *LAYOUTS,
    "moba(block=256, topk=2)",
    "evict(h2o, budget=256, chunk=128)",
    "evict(streaming, budget=256, chunk=128)",
)


class Reader(HTMLParser):
    """Raises where tags do not nest; keeps headings, ids, links and what is linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    cards = [CARDS["r9700"], CARDS["h200"]]
    command = "prefillwall compare --seed 7"
    records = [one | {"invocation": command} for one in synthetic_records()]
    write_report(out, compared(records), command=command, cards=cards)
    return out


def test_page_is_well_formed_and_holds_every_layout_and_section(folder):
    text = (folder / "report.html").read_text()
    reader = read(text)
    assert next(attributes["lang"] for tag, attributes in reader.tags if tag == "html") == "en"
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"pareto", "cost", "realisation", "floor", "tiles", "position", "run", "numbers"} <= set(ids)
    assert {"card-1-prediction", "card-1-floor-table", "card-2-floor-table"} <= set(ids)
    assert [f"layout-{i}" for i in range(3)] == [one for one in ids if one.startswith("layout-")]
    pressed = [attributes for tag, attributes in reader.tags if tag == "button" and "aria-pressed" in attributes]
    assert [one["data-layout"] for one in pressed] == ["0", "1", "2"]
    links = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    assert links <= {f"#{one}" for one in ids}
    for said in (
        "smollm2-135m, 30 layers",
        "Imaginary 9000",
        "0123456789abcdef",
        "prefillwall compare --seed 7 --resume",
    ):
        assert said in text


def test_what_makes_a_figure_again_is_the_comparison_and_the_rest_is_beside_it(folder):
    text = (folder / "report.html").read_text()
    lines = re.findall(r'<p class="again">(.*?)</p>', text)
    again = {line for line in lines if line.startswith("Make it again: ")}
    measured, kinds = "Make it again: <code>prefillwall compare --seed 7 --resume", "linear attention prefill"
    assert again == {
        f"{measured}{rest}</code>"
        for rest in (
            "",
            f" --again {kinds}",
            f" --again {kinds} quality",
            " --again attention prefill",
            " --again quality",
        )
    }
    beside = " ".join(line for line in lines if line.startswith("See also: "))
    for command in ("lower --model", "validate", "variants full", "crossover --model smollm2-135m"):
        assert f"<code>prefillwall {command}" in beside


def test_page_needs_no_other_file(folder):
    text = (folder / "report.html").read_text()
    for tag, attributes in read(text).tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "use", "image", "audio", "video")
        assert not {"src", "srcset", "xlink:href"} & attributes.keys()
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_picture_stands_before_every_sentence(folder, tmp_path):
    """Quality against time and the wall, each with all names; where one was not measured, the other."""
    text = (folder / "report.html").read_text()
    first = text[text.index('<section id="first"') : text.index('id="summary"')]
    assert first.index("<figure") < first.index('class="note"') and 'class="told"' not in text[: text.index(first)]
    titles = ["Quality against time", "The wall: attention and linear layers"]
    assert re.findall('class="plot" role="group" aria-label="([^"]+)"', first) == titles
    for panel in first.split("<svg ")[1:]:
        names = re.findall(r'class="name"[^>]*>([^<]+)<', panel)
        assert set(short_names(LAYOUTS)) <= set(names)
    for kind, told in (("quality", titles[1:]), ("attention", titles[:1])):
        left = [r for r in synthetic_records() if r["kind"] not in (kind, "linear" if kind == "attention" else kind)]
        write_report(tmp_path, compared(left), command="prefillwall compare")
        drawn = (tmp_path / "report.html").read_text().partition('id="summary"')[0]
        assert re.findall('class="plot" role="group" aria-label="([^"]+)"', drawn) == told, kind


def test_what_records_say_is_text(tmp_path):
    evil = '<script>alert("1")</script><img src=x onerror=y>'
    records = [r | {"environment": r["environment"] | {"cpu": evil}, "weights": evil} for r in synthetic_records()]
    records.append(record("prefill", "full", 8192, status="failed", error=evil, weights=evil))
    write_report(tmp_path, compared(records, mixed=True), command=f"prefillwall compare --out {evil}")
    text = (tmp_path / "report.html").read_text()
    reader = read(text)
    assert sum(tag == "script" for tag, _ in reader.tags) == 1
    assert all(tag != "img" and "onerror" not in attributes for tag, attributes in reader.tags)
    assert text.count("&lt;script&gt;") >= 3


def test_several_settings_have_sections_of_their_own(tmp_path):
    records = synthetic_records()
    other = [r | {"dtype": "bfloat16"} for r in records]
    write_report(tmp_path, compared(records + other, mixed=True), command="prefillwall compare")
    ids = [attributes.get("id") for _, attributes in read((tmp_path / "report.html").read_text()).tags]
    assert {"1-cost", "2-cost", "1-layout-1", "2-layout-1"} <= set(ids)


def test_records_of_nothing_but_quality_or_failures_still_have_a_page(tmp_path):
    write_report(
        tmp_path,
        compared(r for r in synthetic_records() if r["kind"] == "quality"),
        command="prefillwall compare",
    )
    text = (tmp_path / "report.html").read_text()
    read(text)
    assert "No time was measured." in text
    failed = [record("prefill", "full", 512, status="failed", error="ValueError: no")]
    write_report(tmp_path, compared(failed), command="prefillwall compare")
    assert "ValueError: no" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("kinds", [{"linear"}, {"linear", "quality"}, {"attention"}])
def test_records_of_a_part_alone_have_a_page(kinds, tmp_path):
    write_report(
        tmp_path, compared([one for one in synthetic_records() if one["kind"] in kinds]), command="prefillwall"
    )
    assert read((tmp_path / "report.html").read_text(encoding="utf-8")).tags


def test_markup_escapes_what_is_not_markup():
    assert element("b", "a < b", class_='"x"') == '<b class="&quot;x&quot;">a &lt; b</b>'
    assert element("g", element("line", x1=1.25, x2=3), data_v=2) == '<g data-v="2"><line x1="1.2" x2="3"/></g>'
    assert element("p", title=None) == "<p></p>"
    assert isinstance(join(["<", Markup("<i>")]), Markup)
    assert join(["<", Markup("<i>")]) == "&lt;<i>"


def test_short_names_are_told_apart():
    alike = ["evict(h2o, budget=2)", "evict(h2o, budget=3)"]
    names = short_names(["full", "5*swa(1024)+full", "swa(1020, sinks=4)", "routed(512|512|4096|full)", *alike])
    assert names == ["full", "5*swa(1024)+full", "swa(1020…)", "routed(512|512|4096|…)", *alike]
    long = [f"5*evict(snapkv, budget={i})+3*swa(1024)+2*spans(256|1024|full, sinks=4)+full" for i in (512, 1024)]
    names = short_names([*alike, *long])
    assert len(set(names)) == 4 and max(map(len, names)) < 36 and names[:2] == alike
    series = list(all_series([f"swa({i})" for i in range(1, 61)]).values())
    assert len({(one.css, one.dashed, one.marker(0, 0)) for one in series}) == 60
    again = series[len(LIGHT)]
    assert again.css == series[0].css and "hollow" in again.marker(0, 0) and "dashed" in again.swatch()
    assert "hollow" not in series[0].marker(0, 0)
