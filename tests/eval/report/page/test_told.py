"""The page's sentences: each number in them is the one that they name."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET

import pytest

from eval.report.page.figure import Context
from eval.report.page.layout_sentence import layout_sentence
from eval.report.page.page import _palette, _told
from eval.report.page.series import all_series
from eval.report.palette import DARK, LIGHT, PAGE_DARK, PAGE_LIGHT
from eval.report.report_files import write_report
from tests.eval.report.drawn_records import LAYOUTS, LENGTHS, MIXED, PERPLEXITY, READ, WINDOW, drawn_records
from tests.eval.report.plain import figures, says
from tests.eval.report.synthetic_records import compared, summaries

RECORDS = drawn_records()
[SUMMARY] = summaries(RECORDS)
LONGEST, TEXT = LENGTHS[-1], READ[-1]
SAVED = re.compile(
    r"At ([\d,]+) tokens attention runs (\S+) as fast as full attention for (\S+) fewer useful FLOPs "
    r"\((.+?) realised\), the whole prefill (\S+) as fast; perplexity (rises|falls) by (.+?) over "
    r"([\d,]+) tokens \(KL (\S+) nats\)\."
)
REFERENCE = re.compile(
    r"The reference: at ([\d,]+) tokens a prefill takes (.+?) \(median of (\d+) samples\), attention is (.+?) of it; "
    r"perplexity (\S+) over ([\d,]+) tokens\."
)


@pytest.mark.parametrize("layout", [WINDOW, MIXED])
def test_what_a_layout_saves_and_loses(layout):
    one, text = figures(RECORDS, layout, LONGEST), figures(RECORDS, layout, TEXT)
    found = SAVED.fullmatch(layout_sentence(SUMMARY, layout))
    at, speed_up, fewer, realised, whole, way, change, over, kl = found.groups()
    gain = one["attention_gain"]
    assert (at, over) == (f"{LONGEST:,}", f"{TEXT:,}")
    assert says(speed_up, gain["speed_up"]) and says(fewer, gain["useful_reduction"])
    assert says(realised, gain["realisation"]) and says(whole, one["whole_gain"]["speed_up"])
    assert way == ("rises" if PERPLEXITY[layout] > PERPLEXITY["full"] else "falls")
    assert says(change, abs(text["perplexity_change"])) and says(kl, text["quality"]["kl_nats"])


def test_the_reference_says_what_a_prefill_takes():
    one, text = figures(RECORDS, "full", LONGEST), figures(RECORDS, "full", TEXT)
    at, takes, samples, share, perplexity, over = REFERENCE.fullmatch(layout_sentence(SUMMARY, "full")).groups()
    assert (at, over) == (f"{LONGEST:,}", f"{TEXT:,}")
    assert int(samples) == one["samples"]["whole"]
    assert says(takes, one["whole_ms"][0]) and says(share, one["time_share"])
    assert says(perplexity, text["quality"]["perplexity"])


def test_without_full_attention_the_perplexity_stands_alone():
    [alone] = summaries([r for r in RECORDS if r["layout"] != "full"])
    read = figures(RECORDS, WINDOW, TEXT)["quality"]
    sentence = re.compile(r".*[Pp]erplexity (\S+) over ([\d,]+) tokens \(KL (\S+) nats\)\.")
    said = sentence.fullmatch(layout_sentence(alone, WINDOW))
    assert says(said[1], read["perplexity"]) and said[2] == f"{TEXT:,}" and says(said[3], read["kl_nats"])


def test_each_sentence_is_on_the_page_beside_its_own_layout(tmp_path):
    write_report(tmp_path, compared(RECORDS), command="prefillwall compare")
    page = (tmp_path / "report.html").read_text()
    for layout in LAYOUTS:
        said = html.escape(layout_sentence(SUMMARY, layout))
        assert page.count(said) == 2  # at the top, and over its panels
        listed = next(line for line in re.findall(r"<li.*?</li>", page) if said in line)
        assert re.sub("<[^>]+>", "", listed).startswith(html.escape(layout))
        panels = next(one for one in re.findall(r"<figure.*?</figure>", page, re.DOTALL) if said in one)
        assert re.sub("<[^>]+>", "", panels).startswith(html.escape(layout))


def test_each_layout_has_its_own_sentence_under_its_name_and_number():
    series = all_series(str(layout) for layout in SUMMARY.layouts)
    told = str(_told(Context(SUMMARY, {}, {}, series, ["prefillwall compare"]), several=False))
    items = ET.fromstring(f"<body>{told}</body>").findall("ul/li")
    assert [(item.get("data-v"), "".join(item.itertext())) for item in items] == [
        (str(one.number), f"{name} {''.join(ET.fromstring(f'<i>{sentence}</i>').itertext())}")
        for name, one in series.items()
        for sentence in [layout_sentence(SUMMARY, name)]
    ]
    assert len(items) == len({item.get("data-v") for item in items}) > 1


def test_either_scheme_has_its_own_colours():
    light, _, dark = _palette().partition("@media screen and (prefers-color-scheme:dark)")
    for text, page, colours in ((light, PAGE_LIGHT, LIGHT), (dark, PAGE_DARK, DARK)):
        assert re.findall(r"--c\d+:(#\w+)", text) == list(colours) and f"--page:{page};" in text
