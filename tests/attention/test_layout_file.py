"""Layouts out of JSON files."""

from __future__ import annotations

import json

import pytest

from attention.layout import format_layout, parse_layout


def written(tmp_path, content) -> str:
    path = tmp_path / "layout.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("content", "layers"),
    [
        (["full", "swa(128)", "routed(9|full)"], ["full", "swa(128)", "routed(9|full)"]),
        (
            {"sinks": 4, "spans": [[256, "full", "64+0.25N"], ["0.5N"], [7]]},
            ["spans(256|full|64+0.25N, sinks=4)", "spans(0.5N, sinks=4)", "spans(7, sinks=4)"],
        ),
        (
            {"sinks": 64, "recent": 256, "threshold": 0.4, "gates": [[0.93, 0.4], [0, 0.45], [0.1, 0.39]]},
            ["spans(full|256)", "spans(256|full)", "spans(256|256)"],
        ),
        (
            {"sinks": 2, "recent": 9, "gates": [[0.5], [0.51], [1]]},
            ["spans(9, sinks=2)", "spans(full, sinks=2)", "spans(full, sinks=2)"],
        ),
    ],
)
def test_files_say_what_strings_say(tmp_path, content, layers):
    layout = parse_layout(written(tmp_path, content), 3)
    assert layout == parse_layout(layers, 3)
    assert parse_layout(format_layout(layout), 3) == layout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[full", "is not JSON"),
        ([["full"]], r"names a variant for each layer, got \['full'\]"),
        (["full", "swaa(3)", "full"], r"no attention variant 'swaa' \(did you mean 'swa'\?\)"),
        (["full"], "got 1 entries for 3 layers"),
        ({"layers": []}, 'holds no layout; accepted: a list of spellings, {"sinks", "spans"}'),
        (3, "holds no layout"),
        ({"spans": [[1]]}, "sinks must be a whole number, got None"),
        ({"sinks": 1, "spans": [1, 2, 3]}, "'spans' must be a list for each layer"),
        ({"sinks": 1, "spans": [["far"]] * 3}, r"must be spans like .*, got 'far'"),
        ({"sinks": 1, "spans": [[0]] * 3}, "at least 1 key"),
        ({"sinks": 1, "spans": [["7|9"]] * 3}, r"each head has one span, got '7\|9'"),
        ({"sinks": True, "spans": [[9]] * 3}, "sinks must be a whole number, got True"),
        ({"sinks": 1, "spans": [[9]] * 3, "recent": 4}, "no entry 'recent'; accepted: sinks, spans"),
        ({"sinks": 1, "recent": "x", "gates": [[0.3]] * 3}, "recent must be a whole number, got 'x'"),
        ({"sinks": 1, "recent": 4, "gates": [["x"]] * 3}, "a gate must be a number, got 'x'"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_layout(written(tmp_path, content), 3)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there():
    with pytest.raises(ValueError, match=r"cannot read layout file nowhere\.json: .*No such file"):
        parse_layout("nowhere.json", 3)
