"""The form of samples: what a modality says of them is what an index gives back, or refused."""

import json
import pickle
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.modalities.base import Encoded, Form
from ragdist.tools.errors import UserError

numbers = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | numbers | floats | st.text(max_size=3)
said = st.recursive(
    plain, lambda item: st.lists(item, max_size=3) | st.dictionaries(st.text(max_size=2), item, max_size=3)
)
specs = st.dictionaries(st.text(max_size=3), said, max_size=3)
NUMPY = {bool: np.bool_, int: np.int64, float: np.float64}


def as_modalities_write(value):
    """Equal values in the types that code has at hand: tuples, NumPy's numbers."""
    if isinstance(value, list):
        return tuple(map(as_modalities_write, value))
    if isinstance(value, dict):
        return {key: as_modalities_write(item) for key, item in value.items()}
    return NUMPY.get(type(value), lambda same: same)(value)


@given(st.lists(numbers, max_size=3), specs)
def test_a_form_is_what_an_index_gives_back(shape, spec):
    form = Form(np.array(shape, np.int64), as_modalities_write(spec))
    back = json.loads(json.dumps(form))
    assert form == Form(*back) == (tuple(shape), spec)
    assert [type(number) for number in form.shape] == [int] * len(shape)
    assert pickle.loads(pickle.dumps(form)) == form
    assert Encoded(b"", "x", shape, as_modalities_write(spec)).form == form


def test_a_spec_may_be_any_mapping():
    inner = MappingProxyType({"a": 1})
    assert Form((1,), MappingProxyType({"rate": 1, "inner": inner})) == ((1,), {"rate": 1, "inner": {"a": 1}})


@pytest.mark.parametrize("form", [(3,), ((1.5,),), (("a",),), (None,), ((1,), [1]), ((1,), "rate")])
def test_what_is_no_shape_or_no_spec_is_refused_where_it_is_said(form):
    with pytest.raises(UserError, match=r"^a modality says of its samples .*, which no index can: give "):
        Form(*form)


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x", float("nan"), np.float32("inf"), np.arange(3), {"a": 1j}])
def test_what_no_index_can_say_is_refused_where_it_is_said(value):
    with pytest.raises(UserError, match=r"^a modality says of its samples .*, which no index can: give texts, finite "):
        Form((1,), {"rate": 1, "other": value})
