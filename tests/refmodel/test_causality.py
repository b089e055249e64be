"""No token has a say in what came before it, not in the last bit: every variant, router and policy, with experts."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from attention.attend import attend
from attention.eviction.registry import POLICIES
from attention.routers import ROUTERS
from attention.variants import VARIANTS
from refmodel.model import prefill
from refmodel.presets import preset
from tests.examples import EXAMPLES
from tests.refmodel.uneven_keys import model

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS = 67
PLACES = (1, 2, 11, 31, 32, 64, 66)
"""Of the token that changes: at the ends, at and beside the edges of chunks, blocks and tiles."""
CHOICES = {"keynorm": "keynorm,threshold=4"}
ROUTED = tuple(
    f"routed(5|19|full,sinks=1,per={per},router={CHOICES.get(router, router)})"
    for router in ROUTERS for per in ("layer", "group", "head")
)  # fmt: skip
EVICTING = tuple(
    f"{form}({policy},budget=17,sinks=2,recent=5{', chunk=11' * (form == 'evict')})"
    for form in ("evict", "evict_after") for policy in POLICIES
)  # fmt: skip
EVERY = (*EXAMPLES, "spans(3|29,sinks=2)", "moba(7,topk=3)", *ROUTED, *EVICTING)
N_LAYERS = preset("tiny-moe").n_layers
LAYOUTS = tuple("+".join(EVERY[i : i + N_LAYERS]) for i in range(0, len(EVERY), N_LAYERS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "impl"), [*((layout, "blockwise") for layout in LAYOUTS), *((layout, "dense") for layout in LAYOUTS[:3])]
)
def test_a_changed_token_changes_no_logit_before_it(layout, impl):
    config, params = model(layout)
    run = jax.jit(partial(prefill, config, logits="all", attend=partial(attend, impl=impl)))
    tokens_bt = jax.random.randint(jax.random.key(3), (1, TOKENS), 0, config.vocab_size)
    before = np.asarray(run(params, tokens_bt)[0])
    for place in PLACES:
        others = jax.random.randint(jax.random.key(place), (1, TOKENS - place), 0, config.vocab_size)
        for changed in (tokens_bt.at[:, place].add(1), tokens_bt.at[:, place:].set(others)):
            after = np.asarray(run(params, changed % config.vocab_size)[0])
            np.testing.assert_array_equal(after[:, :place], before[:, :place], err_msg=f"token {place} of {layout}")
            assert not np.allclose(after[:, place], before[:, place])


def test_everything_that_is_registered_is_among_them():
    said = " ".join(LAYOUTS)
    assert all(f"{name}" in said for name in (*VARIANTS, *ROUTERS, *POLICIES))
    assert len(EVERY) == len(set(EVERY)) and sum(layout.count("evict") for layout in LAYOUTS) >= 2 * len(POLICIES)
