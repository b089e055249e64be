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
# # 03 A variant of one's own, and how to know that it is right
#
# A new attention variant is one small class. This notebook writes one, tests it with three assertions, breaks it on
# purpose to see the assertions fail, and asks what it would cost and what it would lose.

# %%
import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

import attention
import eval
import refmodel
from attention import SpanPattern, Variant
from eval.quality.divergence import final_hidden, per_token, summarise
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from refmodel.default_model import default_text

# %% [markdown]
# ## The variant
#
# *Stairs*: the heads fall into groups, and each group looks twice as far as the one before. Some heads see the
# neighbourhood, some see the page. The fields of the class are its parameters; `pattern` is all that it has to say.


# %%
@dataclass(frozen=True)
class Stairs(Variant):
    """`stairs(window, steps=3, sinks=4)`: heads in `steps` groups, with windows of `window` times 1, 2, 4, ... keys."""

    name = "stairs"
    example = "stairs(5, steps=3, sinks=2)"

    window: int
    steps: int = 3
    sinks: int = 4

    def pattern(self) -> SpanPattern:
        return SpanPattern(span=tuple(self.window << step for step in range(self.steps)), sink=(self.sinks,))


stairs = Stairs(6)

# %%
seen_nts = eval.seen_keys(stairs, 48, n_heads=stairs.steps, n_kv_heads=stairs.steps)
figure, panels = plt.subplots(1, stairs.steps, figsize=(9, 3.2), layout="constrained")
for head, axes in enumerate(panels):
    axes.imshow(seen_nts[head], cmap="Blues", vmax=1.4, interpolation="nearest")
    axes.set_title(f"group {head}", fontsize=9)
    axes.set(xlabel="key (position)", ylabel="query (position)")
figure.suptitle(f"{stairs}: who sees whom")
plt.show()

# %% [markdown]
# ## Three assertions
#
# They run one layer as the model would, on random operands, and raise `AssertionError` like those of chex:
#
# * `assert_matches_dense`: the blockwise kernel gives dense float32 attention under the variant's own mask, whether
#   the prompt comes in one step or in chunks with decode steps behind them, through the cache that the pattern implies;
# * `assert_causal`: no later token reaches an earlier one, not even in the last bit;
# * `assert_flops_agree`: useful pairs are the cells of the mask, executed pairs are the tiles that ran, and the closed
#   form is what the traced program costs.

# %%
for check in (assert_matches_dense, assert_causal, assert_flops_agree):
    check(stairs)
    print(f"{check.__name__}({stairs}) holds")

# %% [markdown]
# ## Do they ever fail?
#
# A test that cannot fail says nothing. Here are three mistakes that are easy to make, and hard to see in a loss curve.


# %%
@dataclass(frozen=True)
class Peeking(Stairs):
    """Positions off by one: a query reads the key after its own."""

    def attend(self, attend, layer):
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt + 1, layer.kv_pos_bks, self.pattern())


@dataclass(frozen=True)
class Wider(Stairs):
    """What runs is a window of one key more than the pattern says, as where libraries count the keys to the left."""

    def attend(self, attend, layer):
        spans = tuple(span + 1 for span in self.pattern().span)
        wider = SpanPattern(spans, (self.sinks,))
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, wider)


@dataclass(frozen=True)
class Miscounted(Stairs):
    """A count that was written down beside the mask, and forgot the query's own key."""

    def useful(self, heads, tokens, start=0):
        cost = super().useful(heads, tokens, start)
        return cost._replace(pairs=cost.pairs - heads.n_heads * tokens)


wrong_ones = {assert_causal: Peeking(6), assert_matches_dense: Wider(6), assert_flops_agree: Miscounted(6)}
for check, wrong in wrong_ones.items():
    try:
        check(wrong)
    except AssertionError as error:
        print(f"{type(wrong).__name__}: {error}\n")
    else:
        raise RuntimeError(f"{check.__name__} did not find what is wrong with {type(wrong).__name__}")

# %% [markdown]
# ## What it costs
#
# Counts follow from the pattern, so the variant has its FLOPs and its wall already. Beside it stands a plain window of
# the same mean width.

# %%
stairs = Stairs(128)
mean = sum(stairs.pattern().span) // stairs.steps
rivals = {"full": attention.make("full"), "stairs": stairs, "window": attention.make("swa", window=mean, sinks=4)}
model = refmodel.load("smollm2-135m")
rows = []
for variant in rivals.values():
    config = model.config.with_layout(variant)
    wall = eval.crossover_tokens(config)
    rows.append(
        {
            "layout": str(variant),
            "attention at 8,192 tokens (GFLOP)": eval.prefill_flops(config, 8192)["attention"] / 1e9,
            "wall (tokens)": f"{wall:,}" if wall else "never",
            "cache of a layer (keys)": variant.cache_tokens(8192),
        }
    )
display(pd.DataFrame(rows).set_index("layout").round(2))

# %% [markdown]
# Stairs and window cost nearly the same FLOPs. The cache tells them apart: key-value heads share one length, so the
# longest step rules it.
#
# ## What it loses
#
# The same model reads the same text with each variant in every layer. Only attention differs; nothing was trained for
# it. KL is the distance of the next-token predictions from full attention's.

# %%
TOKENS = 768
tokens_t = model.encode(default_text())[0, :TOKENS]
full_td = final_hidden(model.config.with_layout("full"), model.params, tokens_t)
found = {}
for name in ("stairs", "window"):
    config = model.config.with_layout(rivals[name])
    found[name] = per_token(config, model.params, tokens_t, full_td, final_hidden(config, model.params, tokens_t))
losses = pd.DataFrame({str(rivals[name]): dataclasses.asdict(summarise(tokens)) for name, tokens in found.items()})
display(losses.loc[["perplexity", "kl_nats", "top1_agreement"]].T.astype(float).round(4))

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name, tokens in found.items():
    kl = jnp.convolve(jnp.asarray(tokens.kl_nats, jnp.float32), jnp.ones(64) / 64, mode="valid")
    axes.plot(range(64, len(tokens.kl_nats) + 1), kl, label=str(rivals[name]))
axes.set(xlabel="position in the text (tokens)", ylabel="KL from full attention (nats per token, mean of 64)")
axes.set_title("Where the loss begins")
axes.legend()
plt.show()

# %% [markdown]
# ## Making it a name
#
# `@attention.register` above the class, in a file of its own, names it in layouts, plots, the sweep and the report:
# `prefillwall compare --plugin stairs.py --layouts 'stairs(128)'` measures it.
