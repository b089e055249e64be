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
# # 05 A card that is not there: the Radeon AI PRO R9700
#
# What would a prefill of Qwen3-30B-A3B cost on a card that nobody here has? Nothing can be measured. Three things can
# be known: the least time that its peak rates allow, what others reached on such a card, and what the compiler makes of
# the kernels. `prefillwall lower` puts them together; this notebook reads its report piece by piece.

# %%
import re
from collections import Counter

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

import eval
from eval.cost.cards import card
from eval.cost.flops.formats import Storage
from eval.cost.prediction import attained_on, evidence_lines, predict_prefill
from eval.cost.roofline import Assumptions, floors
from eval.lowering import report
from eval.lowering.code_bounds import code_bounds
from eval.lowering.compile import compile_for
from eval.lowering.kernel_programs import shipped_attention
from eval.lowering.programs import ModelProgram
from eval.lowering.target import target
from eval.lowering.toolchain import find_toolchain
from refmodel.schedule import prefill_steps

LAYOUT, TOKENS = "5*swa(1024)+full", 16_384
r9700, gfx1201 = card("r9700"), target("gfx1201")
program = ModelProgram("prefill", "qwen3-30b-a3b", LAYOUT, TOKENS)
config = program.config
under = Assumptions(Storage("4.5bit"))  # weights in bf16 do not fit the card's memory

# %% [markdown]
# ## Lowering, without any plugin
#
# JAX turns the model into StableHLO for ROCm on any machine. That is the text that the GPU's compiler gets. The layers
# are loops, so the text is short, whatever the depth.

# %%
function, arguments = program.build()
text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("rocm",)).as_text()
operations = Counter(re.findall(r"stablehlo\.(\w+)", text))
kinds = ("dot_general", "while", "case", "sort", "gather", "dynamic_slice")
print(f"{program.title}: {len(text.splitlines()):,} lines of StableHLO")
print({kind: operations[kind] for kind in kinds})

# %% [markdown]
# ## The floor
#
# Each part needs at least its FLOPs over the peak rate, and at least its bytes over the bandwidth; the larger of the
# two is its floor. Below it no kernel can go.

# %%
work = floors(config, prefill_steps(TOKENS), r9700, under)
print(f"{r9700.title}: bf16 {r9700.peak_flops_per_s('bf16') / 1e12:.0f} TFLOP/s, "
      f"{r9700.bandwidth_bytes_per_s / 1e9:.0f} GB/s")  # fmt: skip
table = pd.DataFrame(
    {
        name: {"TFLOP": one.flops / 1e12, "GB": one.moved_bytes / 1e9, "compute (ms)": one.compute_ms,
               "memory (ms)": one.memory_ms, "floor (ms)": one.ms}
        for name, one in work.items()
    }
)  # fmt: skip
display(table.T.round(2))

# %% [markdown]
# ## What the compiler makes of it
#
# With the compiler plugin installed (`pip install -e '.[rocm-compile]'`, in an environment of its own) the attention
# kernel is compiled for real, and its code object is read: registers, spills, memory shared by a workgroup, waves,
# matrix instructions (WMMA) in the inner loop. The card need not be there. Without the plugin this step is left out,
# and the next one rests on published measurements alone.

# %%
kernels = ()
try:
    toolchain = find_toolchain()
except ValueError as reason:
    print(f"not compiled here: {reason}")
else:
    compiled = compile_for(shipped_attention(gfx1201.name, config.head_dim, config.group_size), gfx1201, toolchain)
    result = report.read_result(compiled)
    kernels = result.kernels
    print(*report.sentences(toolchain, [result]), sep="\n")
    worth = [kernel for kernel in kernels if report.noteworthy(kernel)]
    table = report.kernel_table(worth, gfx1201, compiled.program.title)
    print(table.title)
    display(pd.DataFrame(table.rows, columns=table.header).set_index("kernel").T)
bounds = code_bounds(kernels, gfx1201)
for component, bound in bounds.items():
    print(f"{component}: vector work in the inner loop leaves at most {bound:.0%} of the peak")

# %% [markdown]
# How to read such a table: spilled registers and scratch must be 0. More waves hide more latency. "In loop" counts the
# matrix instructions among all instructions of the inner loop: on this architecture the vector instructions beside them
# do not overlap, so their share bounds the rate from above.
#
# ## The prediction and its interval
#
# Efficiencies are taken from prefills that others published for this card; their spread gives the interval. If a
# kernel was compiled above, its bound cuts the interval off. Every line names its evidence. None of this is a
# measurement.

# %%
predicted = predict_prefill(config, TOKENS, r9700, under, bounds)
print(*evidence_lines(predicted), sep="\n")
table = pd.DataFrame(
    {
        one.component: {"floor (ms)": one.floor_ms, "predicted (ms)": one.ms.middle, "from": one.ms.low,
                        "to": one.ms.high}
        for one in predicted
    }
)  # fmt: skip
display(table.T.round(1))

# %% [markdown]
# ## The predicted wall
#
# By FLOPs the wall is a number. In time it moves by the ratio of the two parts' efficiencies. Each published prefill
# gives such a pair, and with it a wall; the interval holds 90 % of them. It is wide, because software for this card is
# young and the published setups differ.

# %%
setups = attained_on(r9700)
ratios = [one.linear / min(one.attention, bounds.get("attention", 1.0)) for one in setups]
costs = dict(zip(("earliest", "middle", "latest"), np.quantile(ratios, (0.95, 0.5, 0.05)).tolist(), strict=True))
print(f"{len(setups)} prefills: a FLOP of attention costs {min(ratios):.2f} to {max(ratios):.2f} times a linear one")
layouts = ("full", LAYOUT, "swa(1024)")
walls = {
    layout: {
        name: eval.crossover_tokens(config.with_layout(layout), attention_cost=cost)
        for name, cost in {"by FLOPs": 1, **costs}.items()
    }
    for layout in layouts
}
display(pd.DataFrame(walls).T.map(lambda tokens: "never" if pd.isna(tokens) else f"{int(tokens):,} tokens"))

# %%
lengths = [1024 << k for k in range(9)]
times = {name: {"linear layers": [], "attention": []} for name in ("low", "middle", "high")}
for tokens in lengths:
    parts = predict_prefill(config, tokens, r9700, under, bounds)
    for name, found in times.items():
        found["attention"].append(sum(getattr(one.ms, name) for one in parts if one.component == "attention"))
        found["linear layers"].append(sum(getattr(one.ms, name) for one in parts if one.component != "attention"))

figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
for part, colour in (("linear layers", "#0072B2"), ("attention", "#D55E00")):
    axes.plot(lengths, times["middle"][part], color=colour, marker="o", markersize=3, label=part)
    axes.fill_between(lengths, times["low"][part], times["high"][part], color=colour, alpha=0.2, lw=0)
wall = walls[LAYOUT]
if wall["middle"]:
    axes.axvline(wall["middle"], color="grey", ls=":", label=f"predicted wall, {wall['middle']:,} tokens")
    axes.axvspan(wall["earliest"], wall["latest"] or lengths[-1], color="grey", alpha=0.15, lw=0, label="its interval")
axes.set(xscale="log", yscale="log", xlabel="prompt (tokens)", ylabel="predicted prefill time (ms)")
axes.set_xlim(lengths[0], lengths[-1])
axes.set_title(f"{config.name}, {LAYOUT}, on a {r9700.title}: predicted, not measured", fontsize=10)
axes.legend()
plt.show()

# %% [markdown]
# The whole model, its experts, other tiles and other cards: `prefillwall lower`. How such predictions fare where
# measurements exist: `prefillwall validate`.
