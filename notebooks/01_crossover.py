# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 The crossover: from the formula to the measurement
#
# A prompt of $N$ tokens goes through two kinds of work. The linear layers (projections, feed-forward) cost the same
# for every token: $a N$. Self-attention looks from every token at every earlier one: $b N^2$. Where the second
# overtakes the first stands the *prefill wall*. Faster kernels move both terms; only attention that sees less moves
# the wall.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from eval.cost.crossover import attention_share, crossover_tokens, limiting_share
from eval.cost.flops.closed_form import attention_flops, linear_flops, prefill_flops
from eval.measure.layer_program import chained, layer_kernel, no_attention
from eval.measure.timing import Budget, compile_program, time_programs
from refmodel.default_model import default_text
from refmodel.model import prefill
from refmodel.presets import preset
from refmodel.source import open_model

# %% [markdown]
# ## The formula
#
# Per layer, a token multiplies with every parameter of the layer once (2 FLOPs each), and each visible pair of query
# and key costs $4 H$ FLOPs per query head: scores and values. All counts are exact integers, from the description that
# the kernels run on.

# %%
for name in ("smollm2-135m", "qwen3-30b-a3b"):
    flops = prefill_flops(preset(name), 4096)
    print(name, {component: f"{value:.4g}" for component, value in flops.items()})
    print(f"  crossover with full attention: {crossover_tokens(preset(name)):,} tokens")

# %% [markdown]
# A window makes attention linear too. Mixed with full layers it moves the wall; alone it removes it.

# %%
for layout in ("full", "5*swa(1024)+full", "swa(1024)"):
    config = preset("smollm2-135m").with_layout(layout)
    wall = crossover_tokens(config)
    where = f"{wall:,} tokens" if wall else f"never (attention tends to {limiting_share(config):.1%})"
    print(f"{layout:>18}: wall at {where}; attention's share at 8,192: {attention_share(config, 8192):.1%}")

# %% [markdown]
# ## The measurement
#
# The default model, real text, this machine. The linear part is the whole prefill with the attention kernel left out;
# the attention part is one layer's kernel on the shapes that it really sees, times the layers.

# %%
model = open_model()
ids = jnp.asarray(model.tokenizer.encode(default_text()).ids, jnp.int32)
layouts = {name: model.config.with_layout(name) for name in ("full", "swa(512)")}
lengths = (256, 512, 1024, 2048)
budget = Budget(seconds=0.5, min_samples=3)

linear_ms, attention_ms = {}, {name: {} for name in layouts}
for tokens in lengths:
    program = compile_program(
        lambda params, tokens_bt: prefill(model.config, params, tokens_bt, attend=no_attention),
        model.params,
        ids[None, :tokens],
    )
    linear_ms[tokens] = time_programs({"linear": program}, budget)["linear"].median_ms
    kernels = {}
    for name, config in layouts.items():
        variant = config.layout[0]
        kernel, arguments = layer_kernel(config, variant, tokens, jnp.float32)
        kernels[name] = compile_program(chained(kernel, 1), *arguments)
    for name, timing in time_programs(kernels, budget).items():
        attention_ms[name][tokens] = model.config.n_layers * timing.median_ms
    shown = {name: round(times[tokens], 1) for name, times in attention_ms.items()}
    print(f"{tokens:>6,}: linear {linear_ms[tokens]:8.1f} ms, attention {shown}")

# %% [markdown]
# ## From times to a wall
#
# $a$ and $b$ from the times, $N^* = a / b$. It differs from the count of FLOPs by the ratio of the two parts'
# efficiencies: a machine that runs the linear layers at twice the rate of attention has its wall at half the tokens.

# %%
n = np.array(lengths, float)
a = np.median([linear_ms[tokens] / tokens for tokens in lengths[1:]])
b = np.median([attention_ms["full"][tokens] / tokens**2 for tokens in lengths[1:]])
rates = {
    "linear": linear_flops(prefill_flops(model.config, lengths[-1])) / linear_ms[lengths[-1]] / 1e6,
    "attention": model.config.n_layers * attention_flops(model.config.layout[0], model.config, lengths[-1])
    / attention_ms["full"][lengths[-1]] / 1e6,
}  # fmt: skip
print(f"measured wall {a / b:,.0f} tokens, by FLOPs {crossover_tokens(model.config):,}")
print("GFLOP/s at the longest length:", {part: round(rate) for part, rate in rates.items()})

# %%
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
grid = np.geomspace(lengths[0], 16_384)
axes.plot(n, [linear_ms[tokens] for tokens in lengths], "o", color="#0072B2", label="linear layers")
axes.plot(grid, a * grid, color="#0072B2", lw=1)
for name, colour in (("full", "#D55E00"), ("swa(512)", "#009E73")):
    axes.plot(n, [attention_ms[name][tokens] for tokens in lengths], "o", color=colour, label=f"attention, {name}")
axes.plot(grid, b * grid**2, color="#D55E00", lw=1)
axes.axvline(a / b, color="grey", ls=":", label=f"measured wall, {a / b:,.0f} tokens")
axes.set(xscale="log", yscale="log", xlabel="prompt (tokens)", ylabel="prefill time (ms)")
axes.set_title("SmolLM2-135M on this machine")
axes.legend()
plt.show()

# %% [markdown]
# Longer prompts, whole-model times, uncertainties and quality: `prefillwall compare`.
