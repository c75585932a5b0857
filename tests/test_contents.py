"""What an example is: JSON of it, and its structure."""

import json

import jax
import numpy as np
import pytest

from vae_jax import data
from vae_jax.distributions import Masked

TABLE = data.Contents(
    {"age": data.Variable("real"), "kind": data.Variable("category", (), ("a", "b"))},
    {"dose": data.Variable("real")},
    masked=True,
)


@pytest.mark.parametrize(
    "contents", [TABLE, data.pictures((28, 28, 1)), data.Contents(data.Variable("count", (9,)), sized=True)]
)
def test_contents_survive_json(contents):
    assert data.Contents.from_json(json.loads(json.dumps(contents.to_json()))) == contents


def test_other_json_is_no_contents():
    with pytest.raises(ValueError, match="its contents are no description of examples"):
        data.Contents.from_json({"x": {}})
    with pytest.raises(ValueError, match="have the kind 'wave', not one of picture, real"):
        data.Contents.from_json({**TABLE.to_json(), "x": {"kind": "wave", "shape": [3], "levels": []}})


def test_the_structure_is_that_of_an_example():
    value = Masked(np.zeros(3), np.ones(3, bool))
    assert TABLE.structure() == jax.tree.structure(({"age": value, "kind": value}, {"dose": 0}))
    assert data.pictures((2, 2, 1)).structure() == jax.tree.structure(0)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("condition", [(), ("label",)])
@pytest.mark.parametrize("name", ["wine", "digits_5k"])
def test_a_data_set_has_the_structure_of_its_contents(name, condition, missing):
    dataset = data.load(name, condition=condition, missing=missing)
    assert jax.tree.structure(dataset.train.examples) == dataset.contents.structure()


def test_what_contents_have_is_counted_by_element():
    assert (TABLE.event_shape, TABLE.num_elements) == ({"age": (), "kind": ()}, 2)
    pictures = data.pictures((4, 3, 1))
    assert (pictures.event_shape, pictures.num_elements) == ((4, 3, 1), 12)
    assert (TABLE.is_table, TABLE.is_conditional, TABLE.is_picture) == (True, True, False)
    assert (pictures.is_table, pictures.is_conditional, pictures.is_picture) == (False, False, True)
