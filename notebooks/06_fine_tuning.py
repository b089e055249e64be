# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 Fine-tuning under a window
#
# SmolLM2 was trained with full attention. Under a window of 32 keys in every layer it reads far worse. How much of that
# do some minutes of training on two cores give back?
#
# Training also teaches the model the text at hand, under any attention. So the same steps are taken twice, under the
# window and under full attention, and what counts is the distance between the two.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd
from IPython.display import display

import refmodel
from refmodel.default_model import default_text
from refmodel.train import draw_batches, next_token_loss, only_leaves, train_state, train_step

LAYOUTS = ("full", "swa(32)")
TOKENS, STEPS, HELD_OUT = 256, 16, 8

# %% [markdown]
# ## The texts
#
# Python's own manual: the last pieces are held out, the steps draw theirs from the rest. Perplexity is the exponential
# of the mean loss of the next token; pieces are read one by one, so that a position has at most 255 tokens before it.

# %%
model = refmodel.load("smollm2-135m")
text_s = np.asarray(model.encode(default_text())[0])
train_s, held_bt = text_s[: -HELD_OUT * TOKENS], text_s[-HELD_OUT * TOKENS :].reshape(HELD_OUT, TOKENS)
mean_loss = jax.jit(next_token_loss, static_argnums=0)


def perplexity(config, params):
    return float(np.exp(np.mean([mean_loss(config, params, piece_t[None]) for piece_t in held_bt])))


print(f"{len(train_s):,} tokens to train on, {held_bt.size:,} held out")

# %% [markdown]
# ## The steps
#
# AdamW on the weights of attention alone (projections and norms of all 30 layers); the step falls to nothing. Both
# layouts get the same pieces in the same order.

# %%
schedule = optax.linear_schedule(5e-4, 0.0, STEPS)
optimizer = only_leaves(
    optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.95)), model.params, "*.attn.*"
)


def fine_tuned(config):
    """The parameters after the last step, and the loss before each."""
    state, losses = train_state(optimizer, model.params), []
    for tokens_bt in draw_batches(train_s, batch=1, tokens=TOKENS, steps=STEPS, seed=0):
        state, loss = train_step(config, optimizer, state, tokens_bt)
        losses.append(float(loss))
    return state.params, losses


rows, losses_of = {}, {}
for layout in LAYOUTS:
    config = model.config.with_layout(layout)
    before = perplexity(config, model.params)
    params, losses_of[layout] = fine_tuned(config)
    rows[layout] = {"before": before, "after": perplexity(config, params)}
found = pd.DataFrame(rows).T
display(found.round(2))

# %% [markdown]
# ## What came back
#
# Distances are in nats a token, the difference of two mean losses: the window's to full attention's, before any step
# and after the same steps for both.

# %%
nats = np.log(found)
before, after = (nats.loc["swa(32)"] - nats.loc["full"])[["before", "after"]]
print(f"the window costs {before:.3f} nats a token before, {after:.3f} after {STEPS} steps")
print(f"of the loss that the window brings, {1 - after / before:.0%} came back")
learned = nats.loc["full", "before"] - nats.loc["full", "after"]
print(f"the text itself taught full attention {learned:.3f} nats a token")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for layout, marker in zip(LAYOUTS, "os", strict=True):
    left.plot(range(1, STEPS + 1), losses_of[layout], marker=marker, markersize=4, label=layout)
    right.plot(["before", "after"], found.loc[layout, ["before", "after"]], marker=marker, label=layout)
left.set(xlabel="step", ylabel="loss of its piece, before the step (nats per token)")
right.set(ylabel="perplexity of the held-out text", yscale="log")
right.set_yticks([10, 20, 50, 100], ["10", "20", "50", "100"])
right.minorticks_off()
right.legend()
figure.suptitle(f"SmolLM2-135M, {STEPS} steps of {TOKENS} tokens on the weights of attention")
plt.show()

# %% [markdown]
# ## Before anything is trained
#
# Four of the window's 32 keys spent on the first tokens cost about as many FLOPs and need no step at all. Training is
# worth its time where it beats that; so few steps did not where this was written.

# %%
sinks = perplexity(model.config.with_layout("swa(28, sinks=4)"), model.params)
tuned = found.loc["swa(32)", "after"]
print(f"swa(28, sinks=4), untrained: {sinks:.2f}; swa(32) after {STEPS} steps: {tuned:.2f}")

# %% [markdown]
# One text, one seed and so few steps: the figures say which way it goes, not where longer training ends. The trained
# model is `dataclasses.replace(model, config=config, params=params)`; `docs/training.md` has the rest.
