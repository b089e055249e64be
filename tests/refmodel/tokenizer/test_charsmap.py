"""Tables of replaced characters: one that the library walks, and those that it would leave, which never reach it."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from tokenizers import normalizers

from refmodel.tokenizer.charsmap import encoded_fault, fault

LEAF, HAS_LEAF, BY_256 = 1 << 31, 1 << 8, 1 << 9
CHILD, TEXT = 256 ^ ord("a"), 256 ^ ord("a") ^ 1


def table(units: dict[int, int] | None = None, texts: bytes = b"e\0\xc3\xa9\0") -> bytes:
    """`a` becomes `\u00e9`: the root leads to 256 ^ a, whose leaf lies beside it; `units` are others in their place."""
    trie = np.zeros(512, "<u4")
    trie[0], trie[CHILD], trie[TEXT] = 1 << 10 | BY_256, 1 << 10 | HAS_LEAF | ord("a"), LEAF | 2
    for place, unit in (units or {}).items():
        trie[place] = unit
    return (2048).to_bytes(4, "little") + trie.tobytes() + texts


def test_a_table_that_goes_together_is_walked():
    assert fault(table()) == "" == encoded_fault(base64.b64encode(table()).decode())
    assert normalizers.Precompiled(table()).normalize_str("aca") == "\u00e9c\u00e9"
    assert fault(table({7: LEAF | 0x7FFFFFFF})) == ""  # a value that no unit leads to


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"", "of 0 bytes says that its trie takes 0"),
        (b"\4\0\0", "of 3 bytes says that its trie takes 4"),
        (table()[:2047], "of 2,047 bytes says that its trie takes 2,048"),
        (b"\6" + table()[1:], "says that its trie takes 2,054"),
        ((2044).to_bytes(4, "little") + table()[4:], "leads outside of its 511 units"),
        (table({0: 2 << 10 | BY_256}), "leads outside of its 512 units"),
        (table({0: LEAF | 2 << 10 | BY_256}), "leads outside of its 512 units"),
        (table({CHILD: 1 << 20 | HAS_LEAF | ord("a")}), "leads outside of its 512 units"),
        (table({TEXT: LEAF | 5}), "the 5 bytes of text .* are not what its trie speaks of"),
        (table({TEXT: LEAF | 3}), "the 5 bytes of text .* are not what its trie speaks of"),
        (table(texts=b"e\0\xc3\0\0"), "the 5 bytes of text .* are not what its trie speaks of"),
        (table(texts=b""), "the 0 bytes of text .* are not what its trie speaks of"),
    ],
)
def test_what_would_lead_outside_is_told(broken, said):
    assert re.search(said, fault(broken))


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "no text"), (["AAAA"], "no text"), ("1", "not in base 64"), ("\u2028", "not in base 64"), ("", "0 bytes")],
)
def test_what_is_no_table_is_told(value, said):
    assert said in encoded_fault(value)
