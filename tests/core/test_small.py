"""The small rooms of core: compiling, derivatives, fields, memory, names, optional, over, told, protocols."""

import dataclasses
import importlib.metadata

import pytest
import torch
from torch.autograd import forward_ad

from odebridge.core.compiling import untraced
from odebridge.core.derivatives import first_only, refuse_second
from odebridge.core.fields import Separable, Split
from odebridge.core.forcing import Forcing
from odebridge.core.memory import out_of_memory
from odebridge.core.names import lookup, matching, nearest
from odebridge.core.optional import installed, optional
from odebridge.core.over import Grid, Span, Steps
from odebridge.core.protocols import Counts, DepthField, Observation, Step, Tried
from odebridge.core.result import Failure, Result, Solution, Stats
from odebridge.core.told import outside

D = torch.float64
X = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], dtype=D)
T = torch.tensor([0.5, 2.0], dtype=D)


# Derivatives


def test_first_only_is_the_identity_with_one_derivative():
    x = X.clone().requires_grad_()
    y = first_only(x, "once")
    assert torch.equal(y, x)
    assert y is not x
    (gradient,) = torch.autograd.grad((y * y).sum(), x)
    assert torch.equal(gradient, 2 * X)
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad((first_only(x, "once") ** 2).sum(), x, create_graph=True)


def test_first_only_of_what_has_no_graph_is_the_tensor_itself():
    assert first_only(X, "once") is X


def test_first_only_under_forward_mode_and_vmap():
    x, tangent = X.clone().requires_grad_(), torch.ones_like(X)
    with forward_ad.dual_level():
        out = first_only(forward_ad.make_dual(x, tangent), "once")
        assert torch.equal(forward_ad.unpack_dual(out).tangent, tangent)


def test_first_only_in_a_derivative_that_is_mapped():
    def value_and_pull(v):
        value, pull = torch.func.vjp(lambda w: first_only(w, "once") * 2, v)
        return value, pull

    for dim in (0, 1):
        seen = torch.vmap(lambda v: value_and_pull(v)[0], in_dims=dim, out_dims=dim)(X)
        assert torch.equal(seen, 2 * X)
    with pytest.raises(RuntimeError, match="once"):  # torch.func keeps a graph of every derivative
        torch.vmap(lambda v: value_and_pull(v)[1](v))(X)


def test_second_derivatives_are_refused_only_where_a_graph_is_kept():
    with torch.no_grad():
        refuse_second("no")
    with torch.enable_grad(), pytest.raises(RuntimeError, match="no"):
        refuse_second("no")


def test_untraced_runs_what_it_is_given():
    assert untraced(lambda a, b=0: a - b, 5, b=3) == 2


# Fields of two parts


@pytest.mark.parametrize("args", [(), (torch.tensor([2.0, 3.0], dtype=D),)], ids=["no args", "args"])
def test_fields_of_two_parts(args):
    def first(t, x, *more):
        return x * t[:, None] + sum(more, torch.zeros(2, dtype=D))[:, None]

    def second(t, x, *more):
        return x.square() - sum(more, torch.zeros(2, dtype=D))[:, None]

    assert torch.equal(Split(first, second)(T, X, *args), first(T, X, *args) + second(T, X, *args))
    assert Split(first, second).parts == (first, second)
    x = torch.cat([X, X[:, :2] ** 3], 1)
    q, p = x[:, :3], x[:, 3:]
    assert torch.equal(Separable(first, second)(T, x, *args), torch.cat([first(T, p, *args), second(T, q, *args)], 1))
    assert Separable(first, second).parts == (first, second)


def test_separable_wants_two_halves():
    field = Separable(lambda t, p: p, lambda t, q: -q)
    assert field(T, X[:, None, :2]).shape == (2, 1, 2)
    for width in (1, 3):
        with pytest.raises(ValueError, match="even"):
            field(T, X[:, :width])


# What a solve runs over


@pytest.mark.parametrize("ts", [(0.0, 1.0), (0, 0.25, 1), [3.0, 2.0, -1.0], torch.tensor([1.0, 2.0])])
def test_a_grid_keeps_its_nodes_as_floats(ts):
    nodes = Grid(ts).ts
    assert nodes == tuple(float(t) for t in ts)
    assert all(type(t) is float for t in nodes)


@pytest.mark.parametrize(
    ("ts", "kind", "words"),
    [
        ((), ValueError, "at least two"),
        ((1.0,), ValueError, "at least two"),
        ((0.0, 1.0, 1.0), ValueError, "rising"),
        ((1.0, 1.0), ValueError, "rising"),
        ((0.0, 1.0, 0.5), ValueError, "rising"),
        ((1.0, 0.0, 0.5), ValueError, "rising"),
        ((0.0, float("inf")), ValueError, r"ts\[1\]"),
        ((float("nan"), 1.0), ValueError, r"ts\[0\]"),
        (("a", "b"), TypeError, "numbers"),
        (3, TypeError, "numbers"),
        (torch.ones(2, 2), TypeError, "numbers"),
    ],
)
def test_other_grids_are_refused(ts, kind, words):
    with pytest.raises(kind, match=words):
        Grid(ts)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_steps_are_whole(n):
    assert Steps(n).ts == tuple(map(float, range(n + 1)))


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "3", None])
def test_other_numbers_of_steps_are_refused(n):
    with pytest.raises(ValueError, match="Steps: n"):
        Steps(n)


# Names, libraries, memory


def test_names_are_looked_up_or_the_nearest_is_named():
    catalogue = {"dopri5": 1, "dopri8": 2, "rodas4": 3, "rodas5p": 4, "bdf": 5}
    assert lookup("method", "dopri8", catalogue) == 2
    with pytest.raises(ValueError, match=r"no method named 'Rodas5'.*did you mean 'rodas5p' or 'rodas4'"):
        lookup("method", "Rodas5", catalogue)
    with pytest.raises(ValueError, match=r"choose one of bdf, dopri5, dopri8, rodas4, rodas5p\.$"):
        lookup("method", "zzz", catalogue)
    assert nearest(7, ["7", "b"]).startswith("did you mean '7'?")  # a name that is no text, as a file may hold one


def test_near_names_are_three_at_most_and_half_alike():
    assert nearest("aaaa", ["aaab", "aaac", "aaad", "aaae"]).count(" or ") == 2
    assert nearest("abcd", ["abxy"]) == "did you mean 'abxy'?"
    assert nearest("abcd", ["axyz"]) == "choose one of axyz."


def test_names_that_match_a_pattern():
    catalogue = {"b1": 0, "a": 0, "b2": 0}
    assert matching(catalogue) == ["b1", "a", "b2"]
    assert matching(catalogue, "b*") == ["b1", "b2"]


def test_a_library_that_may_be_missing():
    assert optional("math").pi > 3
    assert optional("no_such_library") is None
    assert installed("torch") == importlib.metadata.version("torch")
    assert installed("no-such-library") is None


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError(), False),
    ],
)
def test_memory_that_has_run_out_is_told_from_other_errors(error, out):
    assert out_of_memory(error) is out


def test_memory_that_cannot_be_had_is_such_an_error():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert out_of_memory(caught.value)


# Where a warning belongs


def called_in(*modules):
    """`outside()` asked from a function in the last module, each called by the one before, the first one by this test."""
    ask = outside
    for module in reversed(modules):
        space = {"__name__": module, "ask": ask}
        exec("def run():\n    return ask()", space)
        ask = space["run"]
    return ask()


@pytest.mark.parametrize(
    ("modules", "level"),
    [
        (["odebridge.core.x"], 2),
        (["odebridge"], 2),
        (["odebridge.a", "odebridge.b", "odebridge.c"], 4),
        (["odebridge_of_others"], 1),
        (["odebridge.a", "theirs", "odebridge.b"], 2),
        (["theirs"], 1),
    ],
)
def test_a_warning_belongs_to_the_nearest_line_outside(modules, level):
    assert called_in(*modules) == level


def test_a_frame_without_a_name_is_outside_and_the_bottom_ends_the_search():
    space = {"outside": outside}
    exec("def run():\n    return outside()", space)
    del space["__builtins__"]
    assert space["run"]() == 1


# Records


@pytest.mark.parametrize(
    "record",
    [Span(0.0, 1.0), Grid((0.0, 1.0)), Split(abs, abs), Separable(abs, abs), Forcing([0.0, 1.0], [1.0, 2.0]),
     Solution(X, Counts()), Failure(0, Result.OK, 0.0, 0.1, None), Stats(*[T] * 7, 0)],
    ids=lambda r: type(r).__name__,
)  # fmt: skip
def test_records_do_not_change(record):
    field = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, field, None)


def test_defaults_of_records():
    assert Counts() == (0,) * 7
    assert Step(X) == (X, *[None] * 6, Counts(), *[None] * 4)
    assert Tried(X, X, X, X, X, X).extra is None
    assert Observation(0, 0.0, X, X, 0.1)[5:] == (None,) * 6


def test_a_depth_field_says_that_it_must_be_written():
    with pytest.raises(NotImplementedError):
        DepthField()(0.0, X)
