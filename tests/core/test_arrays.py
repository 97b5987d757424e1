"""A batch-first field as a function of one float and one array, by PyTorch or on plain numbers."""

import numpy as np
import pytest
import torch

from odebridge.core.arrays import on_arrays

D = torch.float64


def swing(t, x, *args):
    """x' = (y, -p x + t), p one number for each trajectory or 1."""
    p = args[0][:, 0] if args else torch.ones(len(x), dtype=x.dtype)
    return torch.stack([x[:, 1], -p * x[:, 0] + t], 1)


class OnNumbers:
    """The same formulas twice; remembers which of the two was called."""

    def __init__(self):
        self.numbers = self.tensors = 0

    def __call__(self, t, x, *args):
        self.tensors += 1
        return swing(t, x, *args)

    def on_numbers(self, t, x, p):
        self.numbers += 1
        assert all(isinstance(v, float) for v in (t, *x, *p))
        return [x[1], -(p[0] if p else 1.0) * x[0] + t]


@pytest.mark.parametrize("args", [None, torch.tensor([[3.0]], dtype=D)], ids=["no args", "args"])
def test_plain_numbers_and_tensors_say_the_same(args):
    field = OnNumbers()
    by_numbers, by_tensors = on_arrays(field, args), on_arrays(swing, args)
    for t, y in ((0, [1.0, 2.0]), (np.float64(2.5), [-0.3, 7.0])):
        a, b = by_numbers(t, np.array(y)), by_tensors(t, np.array(y))
        p = 1.0 if args is None else 3.0
        assert a.dtype == b.dtype == np.float64
        np.testing.assert_array_equal(a, [y[1], -p * y[0] + t])
        np.testing.assert_array_equal(a, b)
    assert (field.numbers, field.tensors) == (2, 0)


def test_a_nest_of_args_goes_through_tensors():
    p = torch.tensor([[3.0]], dtype=D)

    def field(t, x, pair):
        return swing(t, x, pair[0])

    field.on_numbers = None  # never asked: numbers know no nests
    call = on_arrays(field, (p, p))
    np.testing.assert_array_equal(call(0.5, np.array([1.0, 2.0])), [2.0, -2.5])


def test_what_the_field_is_given():
    seen = []

    def field(t, x):
        seen.append((t, x, torch.is_grad_enabled()))
        return x

    y = np.array([1, 2], dtype=np.int64)
    out = on_arrays(field, None)(3, y)
    ((t, x, graph),) = seen
    assert t.dtype == x.dtype == D
    assert t.tolist() == [3.0]
    assert x.tolist() == [[1.0, 2.0]]
    assert not graph
    np.testing.assert_array_equal(out, [1.0, 2.0])


def test_the_answer_is_not_the_array_that_was_given():
    y = np.array([1.0, 2.0])
    out = on_arrays(lambda t, x: x, None)(0.0, y)
    y[:] = 9.0  # SciPy writes into its own y
    np.testing.assert_array_equal(out, [1.0, 2.0])


def test_a_matrix_of_single_precision_becomes_one_of_float64():
    out = on_arrays(lambda t, x: torch.eye(3)[None], None)(0.0, np.ones(3))
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, np.eye(3))


def test_whole_numbers_become_real_ones():
    field = OnNumbers()
    field.on_numbers = lambda t, x, p: [0, 1]
    assert on_arrays(field, None)(0.0, np.ones(2)).dtype == np.float64


@pytest.mark.parametrize("error", [ZeroDivisionError, OverflowError, ValueError])
def test_where_python_raises_the_tensors_answer(error):
    field = OnNumbers()

    def raises(t, x, p):
        raise error

    field.on_numbers = raises
    np.testing.assert_array_equal(on_arrays(field, None)(0.0, np.array([1.0, 2.0])), [2.0, -1.0])
    assert field.tensors == 1


def test_other_errors_are_told():
    field = OnNumbers()
    field.on_numbers = lambda t, x, p: [].missing
    with pytest.raises(AttributeError):
        on_arrays(field, None)(0.0, np.ones(2))
