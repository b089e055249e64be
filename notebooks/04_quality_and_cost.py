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
# # 04 Quality against cost on SmolLM2
#
# A variant that sees less costs less. What does the model lose? This notebook measures both on this machine, with a
# pretrained model and real text, and puts them in one picture. `eval.compare` is the sweep that `prefillwall compare`
# runs; here its records become a table.

# %%
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import eval
from eval.measure.timing import Budget

# %% [markdown]
# ## The measurement
#
# The budget of each layout is about 256 keys. A window of 256; the same budget with four sinks; an eviction that keeps
# the keys of highest score; windows in five layers of six. Times are taken in parts: the linear layers once for all,
# attention for each layout. Quality is one pass over the text.

# %%
LAYOUTS = (
    "swa(256)", "swa(252, sinks=4)", "5*swa(252, sinks=4)+full",
    "evict(snapkv, budget=256, chunk=128)", "evict(random, budget=256, chunk=128)",
)  # fmt: skip
TOKENS = 1024

found = eval.compare(
    "smollm2-135m",
    LAYOUTS,
    tokens=[TOKENS],
    quality_tokens=TOKENS,
    whole=["full"],
    budget=Budget(seconds=1.0),
    on_record=lambda record: print(record.kind, record.layout, record.status),
)
frame = found.to_pandas()
assert not found.failures

# %%
columns = ["attention_ms", "attention_share", "attention_speed_up", "attention_useful_reduction",
           "attention_realisation", "perplexity", "kl_nats", "top1_agreement"]  # fmt: skip
display(frame.set_index("layout")[columns].round(3).T)

# %% [markdown]
# ## Reading the table
#
# * `attention_speed_up` over `attention_useful_reduction` is the realisation: how much of the saved FLOPs came back as
#   time. Where it is below 1, tiles at the edges of a pattern and the choosing of keys took their share.
# * `kl_nats` is the mean divergence of the next-token predictions from full attention's; `top1_agreement` says how
#   often both would choose the same token.
# * The random eviction is the control: it keeps as many keys as the other one.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained", sharey=True)
for axes, column, label in (
    (left, "attention_useful_flops", "attention of one prefill (useful FLOPs)"),
    (right, "attention_ms", "attention of one prefill (ms, this machine)"),
):
    for row in frame.itertuples():
        axes.plot(getattr(row, column), max(row.kl_nats, 0), "o", markersize=8, label=row.layout)
    axes.set(xlabel=label, xlim=(0, None))
left.set_yscale("function", functions=(np.sqrt, np.square))  # so that small losses can be told apart
left.set(ylabel="KL from full attention (nats per token)", ylim=(0, 1.1 * frame.kl_nats.max()))
right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
figure.suptitle(f"SmolLM2-135M, {TOKENS:,} tokens: what is saved and what is lost")
plt.show()

# %% [markdown]
# Left and down is better. Compare the two panels: where the order of the points changes, FLOPs alone would have
# misled.

# %%
by_layout = frame.set_index("layout")
bare, sinks = by_layout.loc["swa(256)"], by_layout.loc["swa(252, sinks=4)"]
print(f"four sinks inside the same budget: KL {bare.kl_nats:.3f} -> {sinks.kl_nats:.3f} nats per token")
kept = by_layout[by_layout.index.str.startswith("evict")].kl_nats
print(f"choosing the keys that stay: KL {kept.max():.3f} -> {kept.min():.3f} nats per token")

# %% [markdown]
# ## Where in the text the loss lies
#
# A window costs nothing before the text is longer than the window. One number over a short text therefore flatters it;
# read the curve.

# %%
figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
for record in found.records:
    if record.kind == "quality" and record.layout != "full":
        stretches = record.quality.by_position
        axes.plot([s.last for s in stretches], [s.kl_nats for s in stretches], marker="o", label=record.layout)
axes.set(xlabel="position in the text (tokens, end of a stretch)", ylabel="KL from full attention (nats per token)")
axes.set_title("Divergence along the text")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# Longer prompts, whole prefills, uncertainties and a report to keep: `prefillwall compare`.
