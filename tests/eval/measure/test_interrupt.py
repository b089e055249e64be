"""An interrupt is raised where nothing runs, and never lost."""

from __future__ import annotations

import signal
import threading

import jax.numpy as jnp
import pytest

from eval.measure import comparison_run, plan
from eval.measure.comparison_run import ComparisonRequest, run_comparison
from eval.measure.interrupt import breathe, held, listen
from refmodel.presets import preset
from refmodel.source import Model


@pytest.fixture(autouse=True)
def own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_while_it_is_held_it_waits_for_a_breath(capfd):
    done = []
    with pytest.raises(KeyboardInterrupt), held():
        breathe()
        signal.raise_signal(signal.SIGINT)
        done.append("goes on")
        breathe()
        done.append("never")
    assert capfd.readouterr().err == "interrupted: ends after the program that runs now; a second Ctrl-C ends at once\n"
    assert done == ["goes on"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_breath_it_is_raised_at_the_end_and_a_second_one_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), held(), held():
        signal.raise_signal(signal.SIGINT)
        done.append("goes on")
    with pytest.raises(KeyboardInterrupt), held():
        signal.raise_signal(signal.SIGINT)
        done.append("goes on")
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert done == ["goes on"] * 2


def test_what_somebody_swallows_is_remembered():
    interrupt = listen()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert interrupt.told
    with pytest.raises(KeyboardInterrupt), held():
        breathe()
    with pytest.raises(KeyboardInterrupt):
        breathe()


def test_what_was_heard_while_it_was_held_is_known_outside():
    interrupt = listen()
    with pytest.raises(KeyboardInterrupt), held():
        signal.raise_signal(signal.SIGINT)
    assert interrupt.told


def test_handlers_of_others_and_other_threads_are_left_alone():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    with held():
        signal.raise_signal(signal.SIGINT)
    assert heard == [1] and not listen().told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = []

    def elsewhere():
        with held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_what_is_fetched_is_left_at_once_and_what_is_hashed_after_a_piece(tmp_path, monkeypatch):
    """Both take minutes, of large models."""
    done = []

    def fetch(*_):
        signal.raise_signal(signal.SIGINT)
        done.append("never")

    def digest(_, on_piece):
        signal.raise_signal(signal.SIGINT)
        done.append("a piece")
        on_piece()
        done.append("never")

    monkeypatch.setattr(comparison_run, "find_checkpoint", fetch)
    monkeypatch.setattr(plan, "params_digest", digest)
    at_hand = Model(preset("tiny-dense"), {"embed": {"embedding": jnp.zeros((257, 48))}}, None, "random")
    for model in ("owner/name", at_hand):
        request = ComparisonRequest(model=model, layouts=["full"], tokens=[5], quality_tokens=0)
        with pytest.raises(KeyboardInterrupt):
            run_comparison(request, tmp_path, invocation=str)
    assert done == ["a piece"] and not list(tmp_path.iterdir())
