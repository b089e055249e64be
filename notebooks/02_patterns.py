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
# # 02 Patterns and what they cost
#
# An attention variant says which earlier tokens a token may read. Here one line says it for most of them: a query at
# position $p$ in head $n$ sees the key at position $s$ iff
#
# $$0 \le s \le p \quad\text{and}\quad (s < \text{sink}_n \ \text{ or }\ p - s < \text{span}_{n,p}).$$
#
# Masks, exact counts, the tiles that kernels visit and the size of the cache all follow from it. This notebook draws
# the patterns, counts them, and turns the counts into the prompt length at which attention becomes the wall.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

import attention
import eval
from attention.mask import dense_mask
from eval.cost.crossover import limiting_share
from refmodel.presets import preset

# %% [markdown]
# ## Who sees whom
#
# Each picture is read off a run: a dark cell is a key that had a weight. So it also shows what no formula knows
# beforehand, such as the keys that an eviction kept or the blocks that a query chose.

# %%
SMALL = (
    "full", "swa(12)", "swa(8, sinks=4)", "spans(0.25N, sinks=4)",
    "routed(6|full, router=periodic)", "moba(block=6, topk=2)",
    "evict(streaming, budget=12, chunk=6)", "evict(keydiff, budget=12, chunk=6)",
)  # fmt: skip
TOKENS = 48

figure, panels = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
for axes, text in zip(panels.flat, SMALL, strict=True):
    axes.imshow(eval.seen_keys(attention.make(text), TOKENS)[0], cmap="Blues", vmax=1.4, interpolation="nearest")
    axes.set_title(text, fontsize=9)
    axes.set(xlabel="key (position)", ylabel="query (position)")
figure.suptitle("Who sees whom, one head")
plt.show()

# %% [markdown]
# ## Counting the dark cells
#
# A pair of query and key costs $4H$ FLOPs in each query head: $2H$ for its score, $2H$ for its value. `useful` counts
# the pairs in closed form. For a small prompt the mask itself can be summed; the two have to be equal.

# %%
window = attention.make("swa", window=8, sinks=4)
position = np.arange(TOKENS)
mask = dense_mask(window.pattern(), position[None], position[None, None], n_heads=1)
heads = preset("smollm2-135m").heads
print(f"{window}: {mask.sum()} pairs in the mask, {window.useful(heads, TOKENS).pairs // heads.n_heads} in closed form")

# %% [markdown]
# ## How the count grows
#
# Keys per query are the slope of the cost. Full attention's line rises for ever; a window's stays flat. Spans that grow
# with the prompt, and a route to `full`, keep rising too, only lower. An eviction bounds the keys as a window does, and
# pays to choose them; so does block routing, whose gates grow with the number of blocks.

# %%
LARGE = (
    "full", "swa(1024)", "swa(1020, sinks=4)", "spans(0.25N, sinks=64)", "routed(256|2048|full, router=periodic)",
    "moba(block=512, topk=3)", "evict(snapkv, budget=1024, chunk=512)",
)  # fmt: skip
lengths = 2 ** np.arange(9, 18)

figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
for text in LARGE:
    variant = attention.make(text)
    keys = [
        variant.at_length(n).useful(heads, n).flops(heads) / (4 * heads.head_dim * heads.n_heads * n)
        for n in lengths.tolist()
    ]
    axes.plot(lengths, keys, marker="o", markersize=3, label=text)
axes.set(xscale="log", yscale="log", xlabel="prompt (tokens)", ylabel="cost of one query (keys, choosing included)")
axes.set_title("Attention per token, heads of SmolLM2-135M")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Useful and executed
#
# A kernel works in tiles. A tile that holds one visible pair is computed whole, so the machine runs more than the
# definition asks for. `executed` counts those tiles, from the same description that the kernel walks by. The ratio is
# the price of the pattern's edges: short windows and scattered tokens pay most.

# %%
n = 8192
rows = []
for text in LARGE:
    variant = attention.make(text).at_length(n)
    useful, executed = variant.useful(heads, n), variant.executed(heads, n)
    rows.append(
        {
            "variant": text,
            "useful (GFLOP)": useful.flops(heads) / 1e9,
            "executed (GFLOP)": executed.flops(heads) / 1e9,
            "executed / useful": executed.flops(heads) / useful.flops(heads),
            "of it choosing": executed.selection_flops / executed.flops(heads),
            "counts assume": variant.assumption,
        }
    )
table = pd.DataFrame(rows).set_index("variant")
print(f"one layer, a prompt of {n:,} tokens, in one step")
display(table.round(3))

# %% [markdown]
# ## From pairs to the wall
#
# The wall is the prompt length from which attention costs more FLOPs than all linear layers of the model. It belongs
# to a layout and a model together: wide layers push it out. Where attention per token is bounded there may be no wall
# at all; then its share of the FLOPs tends to a limit.

# %%
LAYOUTS = ("full", "swa(1024)", "5*swa(1024)+full", "swa(1024)+full", "moba(block=512, topk=3)")
MODELS = ("smollm2-135m", "qwen3-30b-a3b")


def wall(name: str, layout: str) -> str:
    model = preset(name).with_layout(layout)
    tokens = eval.crossover_tokens(model)
    return f"{tokens:,} tokens" if tokens else f"never; share tends to {limiting_share(model):.1%}"


display(pd.DataFrame({name: {layout: wall(name, layout) for layout in LAYOUTS} for name in MODELS}))

# %% [markdown]
# These are counts, not times. What a machine makes of them is measured in `01_crossover` and by `prefillwall compare`.
