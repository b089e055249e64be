"""sentencepiece's table of replaced characters, looked at before the library walks it, which panics outside of it.

    4 bytes    how many bytes the trie takes, little-endian
    trie       units of 4 bytes, a double array (Darts-clone): from unit i the byte c leads to unit i ^ offset ^ c
    texts      in UTF-8, each ends with a zero byte

A unit's bit 31 says that it is a leaf, whose other bits are where its text begins; of others bit 8 says that there is a
leaf at i ^ offset, and bits 10 to 30 are the offset, in steps of 256 where bit 9 is set.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np


def encoded_fault(value: Any) -> str:
    """What is wrong with a table as tokenizer.json writes it, in base 64; empty for nothing."""
    if not isinstance(value, str):
        return "precompiled_charsmap is no text"
    try:
        return fault(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError) as error:
        return f"precompiled_charsmap is not in base 64 ({error})"


def fault(charsmap: bytes) -> str:
    """What is wrong with a table; empty for nothing."""
    trie_bytes = int.from_bytes(charsmap[:4], "little")
    if not 4 <= trie_bytes <= len(charsmap) - 4 or trie_bytes % 4:
        return f"precompiled_charsmap of {len(charsmap):,} bytes says that its trie takes {trie_bytes:,}"
    unit_i, texts = np.frombuffer(charsmap[4 : 4 + trie_bytes], "<u4").astype(np.int64), charsmap[4 + trie_bytes :]
    is_leaf_i = unit_i >> 31 != 0
    is_leaf_i[0] = False  # the root is gone through whatever it says
    offset_i = (unit_i >> 10 & 0x1FFFFF) << np.where(unit_i & 1 << 9, 8, 0)
    next_i = np.arange(len(unit_i)) ^ offset_i
    if (~is_leaf_i & (next_i | 255 >= len(unit_i))).any():
        return f"the trie of its precompiled_charsmap leads outside of its {len(unit_i):,} units"
    start_l = unit_i[next_i[~is_leaf_i & (unit_i & 1 << 8 != 0)]] & 0x7FFFFFFF
    within = np.frombuffer(texts, np.uint8) & 0xC0 == 0x80  # bytes that begin no character
    if not _is_text(texts) or (start_l >= len(texts)).any() or within[start_l].any():
        return f"the {len(texts):,} bytes of text in its precompiled_charsmap are not what its trie speaks of"
    return ""


def _is_text(texts: bytes) -> bool:
    try:
        return bool(texts.decode())
    except UnicodeDecodeError:
        return False
