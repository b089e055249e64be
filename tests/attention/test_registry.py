"""Registries: a name stands for one thing, and what is registered is found."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from attention.registry import Registry


@dataclass(frozen=True, eq=False)
class Thing:
    name: str


def test_what_is_registered_is_found_in_its_order():
    first, second = Thing("first"), Thing("second")
    things = Registry("thing", lambda thing: thing.name, (first,))
    assert things.register(second) is second
    assert dict(things) == {"first": first, "second": second}
    assert list(things) == ["first", "second"] and things.find("second") is second


def test_the_same_thing_may_come_again_and_another_of_its_name_may_not():
    thing = Thing("first")
    things = Registry("thing", lambda thing: thing.name, (thing,))
    assert things.register(thing) is thing
    with pytest.raises(ValueError, match="thing 'first' is there already"):
        things.register(Thing("first"))
    assert things.find("first") is thing


def test_a_cell_that_runs_again_brings_its_class_anew():
    def cell():
        class Guest:
            name = "guest"

        return Guest

    class Guest:
        name = "guest"

    things = Registry("thing", lambda thing: thing.name, (cell(),))
    again = cell()
    assert things.register(again) is again and things.find("guest") is again
    with pytest.raises(ValueError, match="thing 'guest' is there already"):
        things.register(Guest)


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    things = Registry("thing", lambda thing: thing.name, (Thing("first"), Thing("last")))
    message = "no thing 'frist' (did you mean 'first'?); accepted: first, last"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        things.find("frist")


def test_what_is_registered_for_a_while_goes_again():
    things = Registry("thing", lambda thing: thing.name, (Thing("first"),))
    with pytest.raises(KeyError), things.temporarily(Thing("guest")):
        assert "guest" in things
        things.register(Thing("other"))
        raise KeyError
    assert list(things) == ["first"]
