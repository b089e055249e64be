"""Faults in what hybrids are made of: the delta rule, its layer, sinks of a softmax, and gates."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/attention/"
DELTA, RULE, SINKS = (f"{HERE}test_{name}.py" for name in ("gated_delta", "delta_rule", "sink_logits"))
GOLDEN = tuple(f"tests/refmodel/test_golden.py::test_hybrids[{case}-None]" for case in ("qwen3-next", "qwen3-5-moe"))

MUTANTS = [
    *of(
        "attention/gated_delta.py", DELTA,
        ("if value < 1:", "if value < 0:"),
        ("if self.value_heads % self.key_heads:", "if False:"),
        ("self.value_heads * self.key_dim * self.value_dim + (self.conv - 1) * self.channels",
         "self.value_heads * self.key_dim * self.value_dim + self.conv * self.channels"),
        ("real_bt = now.q_pos_bt >= 0", "real_bt = now.q_pos_bt >= -1"),
        ("padded = not now.in_order and channels_btc.shape[1] > 1", "padded = False"),
        ("Attended(_in_order(out_btmh, back_bt, real_bt))", "Attended(out_btmh)"),
        ("joined[:, i : i + tokens] * weights_wc[i] for", "joined[:, i : i + tokens] * weights_wc[-1 - i] for"),
        ("jax.nn.silu(summed)", "jax.nn.sigmoid(summed)"),
        ("(q * self.key_dim**-0.5)", "(q * self.value_dim**-0.5)"),
        ("jax.nn.softplus(a_btm + bias_m)", "jax.nn.softplus(a_btm) + bias_m"),
        ("a_btm, b_btm = jnp.split", "b_btm, a_btm = jnp.split"),
        ("jnp.where(real_bt[..., None], g_btm, 0)", "g_btm"),
        ("-jnp.abs(decay_m) *", "decay_m *"),
        ("return 3 * self.value_heads * self.key_dim", "return 2 * self.value_heads * self.key_dim"),
        ("return Fraction(2 * self.token_macs)", "return Fraction(self.token_macs)"),
        ("x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + _EPS)", "x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + _EPS)"),
        ("q, k, v = jnp.split(mixed_btc", "k, q, v = jnp.split(mixed_btc"),
    ),
    *of(
        "attention/kernels/delta_rule.py", RULE,
        ("if value_heads % key_heads:", "if key_heads % value_heads:"),
        ("chunk_tokens & (chunk_tokens - 1)", "chunk_tokens % 2"),
        ("jnp.maximum(g, _LEAST_LOG_DECAY)", "g",
         "e^-90 and less are nothing in float32, and this form subtracts no sums of them"),
        ("1 if tokens <= MOST_RECURRENT else", "1 if tokens < MOST_RECURRENT else"),
        ("min(chunk_tokens, 1 << (tokens - 1).bit_length())", "min(chunk_tokens, 1 << tokens.bit_length())"),
        ("return 2 * state * value_heads * tokens", "return state * value_heads * tokens"),
        ("of_value_head = 3 * chunk * state", "of_value_head = 2 * chunk * state"),
        ("return -(-tokens // chunk) * (", "return tokens // chunk * ("),
        ("group, *x_btm.shape[3:])", "group, *x_btm.shape[3:]) if group == 1 else x_btm.reshape(*x_btm.shape[:2], group, key_heads, *x_btm.shape[3:]).swapaxes(2, 3)"),
        ("s_bnghv = jnp.exp(g_bng)[..., None, None] * s_bnghv\n", "pass\n"),
        ("u_bngv = beta_bng[..., None] * (v_bngv - _dot", "u_bngv = beta_bng[..., None] * (v_bngv + _dot"),
        ("to_end_bngi1 = decay_bngij[..., -1, :, None]", "to_end_bngi1 = decay_bngij[..., 0, :, None]"),
        ("_dot(\"bnih,bnjh->bnij\", q_bnih, k_bnih)[:, :, None] * decay_bngij", "_dot(\"bnih,bnjh->bnij\", q_bnih, k_bnih)[:, :, None]"),
        ("s_bnghv = since_start_bngi1[..., -1:, :] * s_bnghv\n", "pass\n"),
        ("return jnp.tril(jnp.exp(sums))", "return jnp.exp(sums)"),
        ("jnp.cumsum(jnp.where(below, g_bngi[..., None], 0.0), axis=-2)",
         "jnp.cumsum(g_bngi, -1)[..., None] - jnp.cumsum(g_bngi, -1)[..., None, :]"),
        ("corner = -_dot(", "corner = _dot("),
        ("jnp.stack([-first, one], -1)", "jnp.stack([first, one], -1)"),
    ),
    *of(
        "attention/kernels/choose_delta_rule.py", "tests/attention/test_pallas_delta_rule.py",
        ("return tokens > MOST_RECURRENT and takes", "return tokens >= MOST_RECURRENT and takes"),
        ("size >= 16 and size & (size - 1) == 0", "size >= 16"),
        ("size >= 16 and", "size >= 8 and"),
        ("sum(kernel_flops(*sizes).values())", "max(kernel_flops(*sizes).values())"),
    ),
    *of(
        "attention/kernels/delta_rule_tiles.py", "tests/attention/test_pallas_delta_rule.py",
        ("jnp.dtype(dtype).itemsize)", "jnp.dtype(dtype).itemsize * 2)"),
    ),
    *of(
        "attention/sink_logits.py", SINKS,
        ("sink_n1 = sink_n.astype(jnp.float32)[:, None]", "sink_n1 = sink_n[:, None]",
         "beside a log-sum-exp in float32 shorter floats are promoted to it"),
        ("attended.out_btnh.astype(jnp.float32) * share_btn", "attended.out_btnh * share_btn",
         "times a share in float32 shorter floats are promoted to it"),
        (".swapaxes(1, 2)\n", ".swapaxes(1, 2)[:, ::-1]\n"),
        ("need_lse=True, **options", "need_lse=need_lse, **options"),
    ),
    *of(
        "refmodel/gating.py", "tests/refmodel/kernels/test_grouped.py",
        ("gate, up = jnp.minimum(gate, limit), jnp.clip", "gate, up = gate, jnp.clip"),
        ("return jax.nn.silu(gate) * up", "return jax.nn.silu(up) * gate"),
        ("jax.nn.sigmoid(slope * gate)", "jax.nn.sigmoid(gate)"),
        ("approximate=True", "approximate=False"),
    ),
    *of(
        "refmodel/gating.py", "tests/refmodel/test_grouped_pallas.py::test_biases_and_every_activation_are_fused",
        ("0.044715 * gate * gate", "0.044715 * gate"),
        ("z = slope * gate", "z = gate"),
        ("gate, up = jnp.minimum(gate, limit), jnp.minimum", "gate, up = gate, jnp.minimum"),
        ("jnp.exp2(z * -_LOG2_E)", "jnp.exp2(-z)"),
    ),
    *of(
        "refmodel/delta_net.py", GOLDEN,
        ("nn.silu(z_btmh.astype(jnp.float32))", "nn.sigmoid(z_btmh.astype(jnp.float32))"),
        ("jnp.concatenate([a_btm, b_btm], axis=-1)", "jnp.concatenate([b_btm, a_btm], axis=-1)"),
        ("Norm(self.spec.norm.eps)", "Norm(0.3)"),
        ("(mixed.out_btnh, z_btmh, layer)", "(z_btmh, mixed.out_btnh, layer)"),
        ('self.at(layer, "scale"), Norm', '1 + self.at(layer, "scale"), Norm'),
    ),
    *of(
        "refmodel/hybrid_rows.py", GOLDEN,
        ('of_qkv = {"q": (0, keys), "k": (keys, 2 * keys)', 'of_qkv = {"k": (0, keys), "q": (keys, 2 * keys)'),
    ),
]  # fmt: skip
