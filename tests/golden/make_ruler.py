"""`PYTHONPATH=. python -m tests.golden.make_ruler`: writes golden/ruler.json, small prompts of the tasks of lm-eval.

Needs lm_eval 0.4.13 and what its generators draw with (numpy, scipy, wonderwords); what they only load data and
tokenizers with is stood in for.  lm-eval keeps the beginning of the answer apart; here it is put behind the prompt.
"""

from __future__ import annotations

import importlib.metadata
import json
import random
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

FILE = Path(__file__).parent / "ruler.json"

NEEDLES = {
    "niah_single_1": ("repeat", "words", "numbers", {}),
    "niah_single_3": ("repeat", "words", "uuids", {}),
    "niah_multikey_1": ("repeat", "words", "numbers", {"num_needle_k": 4}),
    "niah_multikey_2": ("needle", "words", "numbers", {}),
    "niah_multikey_3": ("needle", "uuids", "uuids", {}),
    "niah_multivalue": ("repeat", "words", "numbers", {"num_needle_v": 4}),
    "niah_multiquery": ("repeat", "words", "numbers", {"num_needle_k": 4, "num_needle_q": 4}),
}
"""The haystack, what keys and values are, how many; the haystack of essays is replaced by the repeated noise."""


def needle_prompt(prepare, template: str, name: str) -> tuple[str, list[str]]:
    haystack, key_kind, value_kind, numbers = NEEDLES[name]
    counts = {"num_needle_k": 1, "num_needle_v": 1, "num_needle_q": 1} | numbers
    prompt, answers, query = prepare.generate_input_output(
        5, prepare.get_haystack(haystack), type_haystack=haystack, type_needle_k=key_kind, type_needle_v=value_kind,
        template=template, **counts,
    )  # fmt: skip
    kind, end = (value_kind, "are") if len(answers) > 1 else (value_kind[:-1], "is")
    return f"{prompt} The special magic {kind} for {query} mentioned in the provided text {end}", answers


def main() -> None:
    for missing in ("transformers", "datasets", "nltk", "tqdm"):
        sys.modules[missing] = MagicMock()
    sys.modules["tqdm"].tqdm = lambda iterable, **_: iterable
    version = importlib.metadata.version
    importlib.metadata.version = lambda name: "9" if name == "nltk" else version(name)
    from lm_eval.tasks.ruler import cwe_utils, fwe_utils, niah_utils, prepare_niah, vt_utils

    found = {}
    for seed, name in enumerate(NEEDLES):
        random.seed(seed)
        found[name] = needle_prompt(prepare_niah, niah_utils.TEMPLATE, name)
    random.seed(11), np.random.seed(11)
    example, answers = vt_utils.generate_input_output(10, 1, 4, is_icl=True)
    asked, variables = vt_utils.generate_input_output(7, 1, 4)
    solved = f"{example} {' '.join(answers)}\n\n"  # its names are drawn anew for each prompt, which changes no more
    found["vt"] = (solved + "\n\n" + asked).rstrip(), variables
    for tokens in (1_024, 4_096):
        example, prompt, common = cwe_utils.generate_input_output(13, tokens)
        found[f"cwe {tokens}"] = f"{example}\n{prompt}", common
    words = lambda text: MagicMock(input_ids=text.split())  # noqa: E731
    found["fwe"] = fwe_utils.generate_input_output(211, words, num_words=400, vocab_size=11)[:2]
    texts = {name: {"prompt": prompt, "answers": answers} for name, (prompt, answers) in found.items()}
    FILE.write_text(json.dumps(texts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
