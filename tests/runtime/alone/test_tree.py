"""Pytrees as JSON."""

from collections import namedtuple

import pytest

import recurrent_iree_runtime as rt

Point = namedtuple("Point", "x y")


def test_leaves_are_numbered_as_jax_does():
    tree, leaves = rt.tree_of({"b": [1, (2,)], "a": Point(3, None)})
    assert leaves == [3, 1, 2]
    assert tree == {
        "dict": {
            "a": {
                "namedtuple": {
                    "name": "Point",
                    "fields": ["x", "y"],
                    "items": [{"leaf": 0}, {"none": True}],
                }
            },
            "b": {"list": [{"leaf": 1}, {"tuple": [{"leaf": 2}]}]},
        }
    }


def test_round_trip_rebuilds_namedtuples():
    value = {"b": [1, (2,)], "a": Point(3, None)}
    tree, leaves = rt.tree_of(value)
    back = rt.unflatten(tree, leaves)
    assert back == value
    assert type(back["a"]).__name__ == "Point" and back["a"]._fields == ("x", "y")
    assert type(rt.unflatten(tree, leaves)["a"]) is type(back["a"])
    assert rt.flatten(tree, value) == leaves
    assert rt.flatten(tree, back) == leaves


def test_lists_and_tuples_stand_for_each_other():
    tree, _ = rt.tree_of((1, [2, 3]))
    assert rt.flatten(tree, [1, (2, 3)]) == [1, 2, 3]


def test_paths():
    tree, _ = rt.tree_of({"a": [1], "p": Point(2, 3)})
    assert rt.leaf_paths(tree, "out") == {0: "out['a'][0]", 1: "out['p'].x", 2: "out['p'].y"}


@pytest.mark.parametrize(
    "value, message",
    [
        ({"a": 1}, r"the argument has no key 'b'"),
        ({"a": 1, "b": (1,), "c": 2}, r"the unknown key 'c'; expected 'a', 'b'"),
        ({"a": 1, "b": (1, 2)}, r"the argument\['b'\] is a tuple of 2; expected a tuple of 1"),
        ({"a": 1, "b": 5}, r"the argument\['b'\] is a int; expected a tuple of 1"),
        ([1, 2], r"the argument is a list; expected a dict of a, b"),
    ],
)
def test_a_structure_that_does_not_fit(value, message):
    tree, _ = rt.tree_of({"a": 1, "b": (2,)})
    with pytest.raises(rt.SignatureError, match=message):
        rt.flatten(tree, value)


def test_none_and_other_namedtuples_do_not_fit():
    with pytest.raises(rt.SignatureError, match="expects None there"):
        rt.flatten({"none": True}, 1)
    tree, _ = rt.tree_of(Point(1, 2))
    other = namedtuple("Other", "u v")(1, 2)
    with pytest.raises(rt.SignatureError, match=r"a namedtuple of \('u', 'v'\)"):
        rt.flatten(tree, other)


def nested(depth):
    tree = {"leaf": 0}
    for _ in range(depth):
        tree = {"list": [tree]}
    return tree


def point(**changes):
    return {"namedtuple": {"name": "P", "fields": ["x"], "items": [{"leaf": 0}], **changes}}


@pytest.mark.parametrize(
    "tree",
    [
        nested(65),
        [],
        {},
        {"leaf": True},
        {"leaf": -1},
        {"leaf": 0, "none": True},
        {"none": False},
        {"list": {"leaf": 0}},
        {"tuple": [{"leaf": 0}, {"leaf": 0}]},
        point(name="class"),
        point(name="import os; os.system('x')"),
        point(fields=["_x"]),
        point(fields=["x", "x"]),
        point(fields="x"),
        point(fields=[3]),
        point(items=[]),
        {"namedtuple": []},
    ],
)
def test_malformed_trees(tree):
    with pytest.raises(rt.NotAnArtifactError):
        rt.check_tree(tree, 1, "$.tree")
