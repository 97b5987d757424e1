"""Named tuples with some fields changed."""

from typing import NamedTuple

import pytest

from odebridge.core.records import replaced


class Pair(NamedTuple):
    a: int
    b: object = None


def test_it_is_the_replacement_that_named_tuples_have():
    pair = Pair(1, (2, 3))
    assert replaced(pair, b=4) == pair._replace(b=4)
    assert type(replaced(pair)) is Pair
    assert replaced(pair).b is pair.b


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(TypeError, match="'c'"):
        replaced(Pair(1), c=2)
