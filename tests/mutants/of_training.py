"""Faults in training over many steps, and in what is recalled."""

from __future__ import annotations

from tests.mutants.mutant import of

MUTANTS = [
    *of(
        "refmodel/fit.py", "tests/refmodel/test_fit.py",
        ("if step > done:\n", "if step >= done:\n"),
        ("if kept and step % every == 0:", "if kept and step % every == 1:"),
        ("if kept and step > done and step % every:", "if False:"),
        ("if step < done:", "if False:"),
        ('"parameters": params_digest(state.params)', '"parameters": ""'),
        ('params_digest({"tokens_bt": np.asarray(first_bt)})', '""'),
        ('f"{kinds} {norm:.3g} {along:.3g}"', 'f"{kinds} {norm:.3g}"'), ('f"{kinds} {norm:.3g} {along:.3g}"', 'f"{kinds}"'),
        ('f"{value:.3g}"', 'loss.__class__.__name__'),
        ("str(config).encode()", "config.name.encode()"),
        ("for name in {**there, **about} if", "for name in there if False and"),
        ("| _told(about))", ")"),
        ("if not told.exists():\n            self._place.mkdir", "if True:\n            self._place.mkdir", "it is written anew, as it was"),
        ("loss=loss)\n                on_step", "loss=next_token_loss)\n                on_step"),
        ("options = ocp.CheckpointManagerOptions(max_to_keep=1", "options = ocp.CheckpointManagerOptions(max_to_keep=2"),
        ("any(path.name != NEW_ABOUT for path in", "any(True for path in"), ("if self._place.exists() and any(path.name", "if False and any(path.name"),
        ("if self._place.exists() and not self._place.is_dir():", "if False:"),
    ),
    *of(
        "eval/quality/recall.py", "tests/eval/quality/test_recall.py",
        ("keys_bp = draw.permuted(np.tile(np.arange(KEYS), (batch, 1)), axis=1)[:, :pairs]", "keys_bp = draw.integers(KEYS, size=(batch, pairs))"),
        ("room = first_asked(tokens) - pairs", "room = first_asked(tokens) - pairs - 1"),
        ("np.sort(drawn_bp, axis=1) + np.arange(pairs)", "np.sort(drawn_bp, axis=1)"),
        ("- (self.key_bp + 1)", "- self.key_bp"),
        ("return Recall(tokens_bt, key_bp[rows_b1, which_bp])", "return Recall(tokens_bt, key_bp[:, : which_bp.shape[1]])"),
        ("2 * max(1, tokens // LEAST_TOKENS // 2)", "2 * max(1, tokens // LEAST_TOKENS)"),
        ("late = max(0, 5 * step - 3 * steps)", "late = max(0, 5 * step - 2 * steps)"),
        ("length = lengths[step % (longest + 1)]", "length = lengths[longest]"),
        ("seed=(seed, step)).tokens_bt", "seed=(seed, 0)).tokens_bt"),
        ("batch=max(1, batch_tokens // length)", "batch=max(2, batch_tokens // length)"),
        (".argmax(-1) == tokens_bt[:, first_asked(tokens_bt.shape[1]) + 1 :: 2]", ".argmax(-1) == tokens_bt[:, first_asked(tokens_bt.shape[1]) :: 2]"),
        ("final_btd[:, first_asked(tokens) :: 2]", "final_btd[:, first_asked(tokens) + 1 :: 2]"),
        ("stretches // (first_asked(tokens) - 1)", "stretches // first_asked(tokens)"),
        ("stretch_bp[right_bp])]", "stretch_bp[~right_bp])]"),
    ),
]  # fmt: skip
