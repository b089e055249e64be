"""Faults in budgets that are shares of the prompt: their keys, their growth, and where a prompt becomes known."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/attention/eviction/"
SHARE, GROWTH = f"{HERE}test_share.py", f"{HERE}test_share_growth.py"
SAWTOOTH = "tests/eval/cost/test_sawtooth.py"
COUNTED = "tests/eval/cost/flops/test_evicting_counts.py::test_a_share_is_counted_as_its_keys"
MODEL = "tests/refmodel/test_evicting_model.py::test_a_share_is_one_of_the_prompt_whatever_room_the_cache_has"

MUTANTS = [
    *of(
        "attention/eviction/share.py", SHARE,
        ("math.floor(share * tokens)", "math.ceil(share * tokens)"),
        ("Fraction(repr(float(budget)))", "Fraction(float(budget))"),
        ("        keys = reserved(keys)\n", "        keys += 1\n"),
        ("Fraction(1, 1024)", "Fraction(1, 1025)"),
        ("<= share <= MOST_SHARE", "<= share"),
        ("got = spelling(share)", "got = float(share)"),
    ),
    *of(
        "attention/evict_after.py", SHARE,
        ("super().at_length(self.prompt or total_tokens)", "super().at_length(total_tokens)"),
    ),
    *of(
        "attention/evict_after.py", "tests/attention/eviction/test_evict.py",
        ("if length or tokens < (self.prompt or 1):", "if length:"),
        ('f" after {length}" * (length > 0)', '""'),
    ),
    *of(
        "attention/parameters.py", SHARE,
        ("if not 0 < share < 1:", "if share > 1:"),
        (r"|\d*\.?\d+e-\d{1,3}", ""),
    ),
    *of(
        "attention/eviction/share_growth.py", GROWTH,
        ("low, high = (variant.at_length(n).layer", "high, low = (variant.at_length(n).layer"),
        ("ripple_flops=_chosen(variant, heads, settled)", "ripple_flops=1"),
    ),
    *of(
        "attention/evict.py", GROWTH,
        ("useful_score_flops(heads, (before_first + 1) * chunk, told)", "useful_score_flops(heads, before_first * chunk, told)"),
        ("return flops + (events - 1) *", "return flops + events *"),
        ("per_pair += 4 * heads.head_dim", "per_pair = 4 * heads.head_dim"),
        ("return per_query + per_pair * np", "return per_pair * np"),
    ),
    *of(
        "attention/eviction/pyramidkv.py", GROWTH,
        ("return BETA * max(n_layers - 1, 1)", "return 1"),
    ),
    *of(
        "eval/cost/curves.py", GROWTH,
        ("(one := self._growth[key]) and one.falls]", "(one := self._growth[key]) and not one.falls]"),
    ),
    *of(
        "refmodel/layer_spec.py", MODEL,
        ("mixer = mixer.after_prompt(prompt_tokens)", "mixer = mixer.after_prompt(total_tokens)"),
    ),
    *of(
        "refmodel/layer_spec.py", "tests/eval/cost/test_indexed_limits.py",
        ("(*self.told, *self._of_mixer)", "self.told"),
        ("return own + self.mixer.token_values(self.heads)", "return own"),
    ),
    *of(
        "refmodel/layer_spec.py", "tests/refmodel/test_layer_spec.py",
        ("or int(value) > most:", "or False:"), ("isinstance(value, bool) or not isinstance(value, Integral)", "not isinstance(value, Integral)"),
        ('if field.type in ("bool", bool)', 'if field.type in (bool,)'), ("MOST_OF_HEADS if field.name in", "MOST_SIZE if field.name in"),
    ),
    *of(
        "eval/commands/resolve.py", "tests/eval/commands/test_resolve.py",
        ("if trained and any(", "if any("), ("if one not in own)", ")"), ("any(variant.params(layer.heads)", "any(True"),
    ),
    *of(
        "eval/cost/sawtooth.py", SAWTOOTH,
        ("if total(high) + fall(low, high) <= limit", "if total(high) <= limit"),
        ("rest += [(middle + 1, high), (low, middle)]", "rest += [(low, middle), (middle + 1, high)]"),
    ),
    *of(
        "eval/cost/roofline.py", SAWTOOTH,
        ("min(period, LONGEST_TOKENS)", "1"),
        ("limits[0] < limits[1]", "limits[1] > UNBOUNDED"),
    ),
    *of(
        "attention/evict.py", SAWTOOTH,
        ("low - self.chunk >= max(self.share * low", "low >= max(self.share * low"),
        ("return self.chunk - 1 if low // self.chunk < high", "return 1 if low // self.chunk < high"),
    ),
    *of(
        "refmodel/schedule.py", COUNTED,
        ("start + chunk >= tokens, tokens)", "start + chunk >= tokens, min(chunk, tokens))"),
    ),
    *of(
        "eval/cost/flops/traffic.py", COUNTED,
        ("layer.mixer.after_prompt(step.prompt).at_length(step.capacity)", "layer.mixer.at_length(step.capacity).after_prompt(step.prompt)"),
    ),
]  # fmt: skip
