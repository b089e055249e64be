"""A chain of calls: what one of them takes, with the last one waited for before the clock is read again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from eval.bench import chain


def test_a_chain_is_timed_for_each_call_over_inputs_in_turn(monkeypatch):
    events, clock = [], iter((10.0, 10.6))
    monkeypatch.setattr(chain, "time", SimpleNamespace(perf_counter=lambda: events.append("clock") or next(clock)))
    monkeypatch.setattr(chain, "_wait", lambda output: events.append(("wait", output)))
    ms = chain.chain_ms(lambda x: events.append(x) or 10 * x, [(1,), (2,), (3,)], 4)
    assert ms == pytest.approx(600 / 4)
    assert events == ["clock", 1, 2, 3, 1, ("wait", 10), "clock"]
