"""Expressions for parts: what is legal, what they are made into, and the words of every refusal."""

import math
import re
import sys
from typing import Any, NamedTuple

import optax
import pytest

from vae_jax import expressions, likelihoods, posteriors, training
from vae_jax.expressions import Role, canonical, make, parse, signature, split_sum
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.losses import OBJECTIVES
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS
from vae_jax.training import BETA_SCHEDULES


class Thing(NamedTuple):
    """A part that shows what its function was given."""

    name: str
    given: Any = None


def plain() -> Thing:
    return Thing("plain")


def ring(radius: float, width: Any = 1.0, colour: str = "red") -> Thing:
    return Thing("ring", (radius, width, colour))


def around(inner: Thing, margin: int = 2, outer: Thing | None = None) -> Thing:
    return Thing("around", (inner, margin, outer))


def any_options(size: int = 0, **options: Any) -> Thing:
    return Thing("any_options", (size, options))


def number() -> int:
    return 7


def picky(size: int = 1) -> Thing:
    if size < 0:
        raise ValueError(f"size must be at least 0, got {size}")
    return Thing("picky", size)


_FUNCTIONS: Any = (plain, ring, around, any_options, number, picky)
THINGS = Role("thing", Thing, {function.__name__: function for function in _FUNCTIONS})
RED = Thing("ring", (1, 1.0, "red"))

_OWN = """
import functools
from tests.test_expressions import Thing

shared = Thing("shared")
amount = 3
half = functools.partial(lambda scale, step: scale * step, 0.5)

def bolt(length=1, cap: "Thing | None" = None):
    return Thing("bolt", (length, cap))

def unreadable(size: "a type that is not there" = 2):
    return Thing("unreadable", size)

def wrong(size: int = 1):
    return size + "a text"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Modules of one's own: one of parts, one that cannot be imported."""
    (tmp_path / "own_parts.py").write_text(_OWN)
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in ("own_parts", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", Thing("plain")),
        ("plain()", Thing("plain")),
        (" plain ( ) ", Thing("plain")),
        ("ring(1)", RED),
        ("ring(radius=1)", RED),
        ("ring(1, colour=blue)", Thing("ring", (1, 1.0, "blue"))),
        ("ring(1, colour='sky blue')", Thing("ring", (1, 1.0, "sky blue"))),
        ("ring(1, 2.5e-3, blue)", Thing("ring", (1, 2.5e-3, "blue"))),
        ("ring(-1, -2.5)", Thing("ring", (-1, -2.5, "red"))),
        ("ring(+1, --2)", Thing("ring", (1, 2, "red"))),
        ("ring(inf, -inf)", Thing("ring", (math.inf, -math.inf, "red"))),
        ("ring(None, True)", Thing("ring", (None, True, "red"))),
        ("ring((), (1, -2.0))", Thing("ring", ((), (1, -2.0), "red"))),
        ("ring([1, [2, name]], (inf,))", Thing("ring", ((1, (2, "name")), (math.inf,), "red"))),
        ("ring({'a': -1, 2: (b,)})", Thing("ring", ({"a": -1, 2: ("b",)}, 1.0, "red"))),
        ("ring(plain)", Thing("ring", ("plain", 1.0, "red"))),
        ("around(plain)", Thing("around", (Thing("plain"), 2, None))),
        ("around(ring(1), 3)", Thing("around", (RED, 3, None))),
        (
            "around(around(plain()), outer=ring(1))",
            Thing("around", (Thing("around", (Thing("plain"), 2, None)), 2, RED)),
        ),
        ("around('ring(1)')", Thing("around", (RED, 2, None))),
        ("around(plain, outer=None)", Thing("around", (Thing("plain"), 2, None))),
        ("any_options(3, colour=blue, depth=-1)", Thing("any_options", (3, {"colour": "blue", "depth": -1}))),
    ],
)
def test_an_expression_is_a_name_with_literal_arguments(text, expected):
    """A bare name is a text, and a part where the argument is one."""
    assert make(text, THINGS) == expected


def test_a_literal_keeps_its_type():
    assert [type(value) for value in make("ring(True, 1)", THINGS).given] == [bool, int, str]
    assert [type(value) for value in make("ring(1.0, '1')", THINGS).given] == [float, str, str]


def test_a_part_is_returned_as_it_is():
    part = Thing("mine")
    assert make(part, THINGS) is part


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("own_parts:bolt", Thing("bolt", (1, None))),
        ("own_parts:bolt(length=-4)", Thing("bolt", (-4, None))),
        ("own_parts:bolt(2, ring(1))", Thing("bolt", (2, RED))),
        ("own_parts:bolt(2, 'own_parts:shared')", Thing("bolt", (2, Thing("shared")))),
        ("own_parts:shared", Thing("shared")),
        ("own_parts:unreadable(5)", Thing("unreadable", 5)),
        ("around('own_parts:bolt(length=3)')", Thing("around", (Thing("bolt", (3, None)), 2, None))),
        ("tests.test_expressions:RED", RED),
    ],
)
def test_a_part_of_ones_own_is_written_with_its_module(text, expected):
    """A function, or a part; among arguments it is quoted. Annotations that do not evaluate are none."""
    assert make(text, THINGS) == expected


@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_without_arguments_is_the_part_where_parts_are_functions():
    """Also one that is a `functools.partial`, as the calls of expressions are."""
    half = make("own_parts:half", BETA_SCHEDULES)
    assert half(4) == 2.0
    assert canonical("own_parts:half", BETA_SCHEDULES) == "own_parts:half"
    assert make(half, BETA_SCHEDULES) is half


def written(name: str) -> str:
    return {
        "ring": "ring is written ring(radius, width=1.0, colour=red)",
        "around": "around is written around(inner, margin=2, outer=None)",
        "picky": "picky is written picky(size=1)",
    }[name]


KNOWN = "Known: plain, ring, around, any_options, number, picky; one of your own is module:name"
AN_EXPRESSION = "it is no expression, as 'ring(radius, width=1.0, colour=red)' is one"
A_NAME = "it is no name with literal arguments, as 'ring(radius, width=1.0, colour=red)' is one"
NO_LITERAL = "is no literal: give a number, a name, a tuple, True or None"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rin(1)", f"unknown thing 'rin'. Did you mean 'ring'? {written('ring')}. {KNOWN}"),
        ("qqq", f"unknown thing 'qqq'. {KNOWN}"),
        ("ring(1, colours=2)", f"ring has no argument 'colours'. Did you mean 'colour'? {written('ring')}"),
        ("ring(1, zzz=2)", f"ring has no argument 'zzz'. {written('ring')}"),
        ("plain(1)", "1 arguments are too many; plain is written plain"),
        ("ring(1, 2, 3, 4)", f"4 arguments are too many; {written('ring')}"),
        ("ring(1, radius=2)", f"radius is given twice; {written('ring')}"),
        ("ring(radius=1, radius=2)", f"radius is given twice; {written('ring')}"),
        ("ring", f"radius must be given; {written('ring')}"),
        ("ring(width=2)", f"radius must be given; {written('ring')}"),
        *((f"ring({node})", f"radius={node} {NO_LITERAL}") for node in ("1 + 1", "1j", "a.b", "f()", "b'x'", "...")),
        *((f"ring({node})", f"radius={node} {NO_LITERAL}") for node in ("-True", "-name", "{1, 2}", "{**x}", "*x")),
        ("ring((1, f()))", f"radius=f() {NO_LITERAL}"),
        *((text, AN_EXPRESSION) for text in ("", "  ", "ring(", "ring(1))", "two words", "ring\0", "own_parts:")),
        *((text, A_NAME) for text in ("1", "'ring'", "a.b(1)", "ring(1)(2)", "plain + plain", "ring(**x)", "[ring]")),
        ("own_missing:part", "own_missing cannot be imported: ModuleNotFoundError: No module named 'own_missing'"),
        ("own_broken:part", "own_broken cannot be imported: RuntimeError: no licence"),
        ("own_parts:bolts", "own_parts has no 'bolts'. Did you mean 'bolt'?"),
        ("own_parts:amount", "amount is neither a function nor a Thing, but a int"),
        ("own_parts:shared()", "shared is neither a function nor a Thing, but a Thing"),
        ("own_parts:bolt(lenght=1)", "bolt has no argument 'lenght'. Did you mean 'length'? bolt is written bolt("),
        ("own_parts:wrong", "unsupported operand type(s) for +: 'int' and 'str'"),
        ("number", "it returned a int, not a Thing"),
        ("picky(size=-1)", "size must be at least 0, got -1"),
        ("around(rin)", f"thing 'rin': unknown thing 'rin'. Did you mean 'ring'? {written('ring')}. {KNOWN}"),
        ("around(inner=3)", f"thing '3': {A_NAME}"),
        ("around(None)", f"thing 'None': {A_NAME}"),
        ("around(number)", "thing 'number': it returned a int, not a Thing"),
        ("around(picky(-1))", "thing 'picky(-1)': size must be at least 0, got -1"),
        ("around(own_parts)", "thing 'own_parts': unknown thing 'own_parts'"),
    ],
)
def test_what_is_illegal_is_refused_after_the_expression_itself(text, message):
    """With the nearest name, and how the part is written."""
    with pytest.raises(ValueError, match=re.escape(f"thing {text!r}: {message}")) as refusal:
        make(text, THINGS)
    assert str(refusal.value).count(f"thing {text!r}: ") == 1


@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_that_returns_no_part_is_refused():
    with pytest.raises(ValueError, match=re.escape("'tests.test_expressions:number': it returned a int, not a Thing")):
        make("tests.test_expressions:number", THINGS)


@pytest.mark.parametrize("value", [3, None, ("ring", 1), plain], ids=["number", "none", "tuple", "function"])
def test_what_is_neither_text_nor_part_is_a_wrong_type(value):
    message = f"the thing must be an expression or a Thing, got {value!r:.100}"
    with pytest.raises(TypeError, match=re.escape(message)):
        make(value, THINGS)


def test_a_role_of_several_kinds_names_them():
    with pytest.raises(TypeError, match="the bound must be an expression or a Bound or a Objective, got 3"):
        make(3, OBJECTIVES)


class TestLater:
    """Arguments that the caller of the function gives."""

    def test_the_others_are_those_of_the_expression(self):
        for text in ("ring(2.0, blue)", "ring(colour=blue, width=2.0)"):
            assert parse(text, THINGS, later=("radius",))(radius=5) == Thing("ring", (5, 2.0, "blue"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("ring(radius=1)", "ring has no argument 'radius'. ring is written ring(width=1.0, colour=red)"),
            ("ring(1, 2, 3)", "3 arguments are too many; ring is written ring(width=1.0, colour=red)"),
            ("rin", "Did you mean 'ring'? ring is written ring(width=1.0, colour=red)."),
        ],
    )
    def test_they_are_none_of_the_expression(self, text, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            parse(text, THINGS, later=("radius",))

    def test_nothing_is_called_before_it_is_asked_for(self):
        call = parse("picky(-1)", THINGS)
        with pytest.raises(ValueError, match=re.escape("size must be at least 0, got -1")):
            call()

    def test_optimisers_take_their_learning_rate_later(self):
        arguments = {"later": ("learning_rate",)}
        made = parse("sgd(momentum=0.9)", training.OPTIMIZERS, **arguments)(learning_rate=0.5)
        state = made.init(1.0)
        assert made.update(2.0, state)[0] == -1.0
        assert isinstance(made, optax.GradientTransformation)
        assert canonical("sgd(0.9)", training.OPTIMIZERS, **arguments) == (
            "sgd(accumulator_dtype=None, momentum=0.9, nesterov=False)"
        )


@pytest.mark.parametrize(
    "texts",
    [
        ["plain", "plain()", " plain ( )"],
        ["ring(1)", "ring(radius=1)", "ring(1, 1.0, red)", "ring(colour='red', radius=+1)"],
        ["ring((1, 2))", "ring([1, 2])"],
        ["around(ring(1))", "around(inner='ring(1)')", "around(ring(radius=1), 2, None)"],
    ],
    ids=lambda texts: texts[0],
)
def test_texts_of_one_part_have_one_canonical_text(texts):
    assert len({canonical(text, THINGS) for text in texts}) == 1


def test_a_canonical_text_has_every_argument_by_name_and_is_its_own():
    text = canonical("ring(-1, colour=blue)", THINGS)
    assert text == "ring(colour='blue', radius=-1.0, width=1.0)"
    assert canonical(text, THINGS) == text
    assert make(text, THINGS) == make("ring(-1, colour=blue)", THINGS)


def test_other_parts_have_another_canonical_text():
    texts = ["plain", "ring(1)", "ring(2)", "ring('1')", "ring(1, blue)", "around(ring(1))", "around(ring(2))"]
    assert len({canonical(text, THINGS) for text in texts}) == len(texts)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("text", ["0.5", "rin(1)", "ring", "ring(", "own_missing:part", "own_parts:shared", ""])
def test_what_has_no_arguments_to_name_is_canonical_as_it_is(text):
    assert canonical(text, THINGS) == text


@pytest.mark.usefixtures("own")
def test_a_canonical_text_of_ones_own_is_as_it_is_and_imports_nothing():
    """It may have been read from a folder."""
    assert canonical(" own_parts:bolt(2) ", THINGS) == "own_parts:bolt(2)"
    assert canonical("around('own_parts:bolt(2)')", THINGS) == "around('own_parts:bolt(2)')"
    assert "own_parts" not in sys.modules


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("plain", plain, "plain"),
        ("ring", ring, "ring(radius, width=1.0, colour=red)"),
        ("any_options", any_options, "any_options(size=0)"),
        ("iaf", posteriors.iaf, "iaf(num_layers=2, hidden=(64,))"),
    ],
)
def test_a_signature_is_how_a_part_is_written(name, function, expected):
    assert signature(name, function) == expected
    assert signature(name, function, later=("radius", "size")) == expected.replace("radius, ", "").replace(
        "(size=0)", ""
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("a", ["a"]),
        ("a + b(1)+c", ["a", "b(1)", "c"]),
        ("f(1e+5, (2, +3)) + g([+1], {a: +2})", ["f(1e+5, (2, +3))", "g([+1], {a: +2})"]),
        ("a +", ["a", ""]),
    ],
)
def test_a_sum_is_split_where_no_bracket_is_open(text, expected):
    assert split_sum(text) == expected


class TestRealTables:
    """Equal texts make one and the same part, so that nothing compiles twice."""

    @pytest.mark.parametrize(
        ("role", "texts"),
        [
            (POSTERIORS, ["iaf", "iaf(2)", "iaf(hidden=[64])", "iaf(num_layers=2, hidden=(64,))"]),
            (LIKELIHOODS, ["normal", "normal(1.0)", "normal(learn=fixed)", "normal(scale=1.0, learn='fixed')"]),
            (PRIORS, ["vamp", "vamp(500)", "vamp(num_components=500)"]),
        ],
        ids=lambda value: getattr(value, "name", None),
    )
    def test_equal_texts_make_the_same_part(self, role, texts):
        assert len({id(make(text, role)) for text in texts}) == 1
        assert len({canonical(text, role) for text in texts}) == 1

    def test_a_text_makes_what_the_function_does(self):
        assert make("normal(0.3, learn=shared)", LIKELIHOODS) is likelihoods.normal(0.3, "shared")
        assert make("iaf(3, (4, 5))", POSTERIORS) is posteriors.iaf(3, (4, 5))

    @pytest.mark.parametrize(
        ("role", "text", "message"),
        [
            (
                POSTERIORS,
                "iaff",
                "unknown posterior 'iaff'. Did you mean 'iaf'? iaf is written iaf(num_layers=2, hidden",
            ),
            (
                POSTERIORS,
                "iaf(layers=2)",
                "iaf has no argument 'layers'. Did you mean 'num_layers'? iaf is written iaf(",
            ),
            (LIKELIHOODS, "normal(0.0)", "scale must be a finite number above 0.0, got 0.0"),
            (PRIORS, "vamp(0)", "num_components must be a whole number of at least 1, got 0"),
            (OBJECTIVES, "renyi", "alpha must be given; renyi is written renyi(alpha)"),
        ],
        ids=lambda value: value if isinstance(value, str) and " " not in value else None,
    )
    def test_a_mistake_is_named(self, role, text, message):
        with pytest.raises(ValueError, match=re.escape(f"{role.name} {text!r}: {message}")):
            make(text, role)

    def test_every_part_is_a_function_whose_signature_is_an_expression(self):
        """So that a message shows what can be written as it is, once what must be given has a value."""
        given = {"student_t": "(df=3", "categorical": "(num_classes=3", "ordinal": "(num_classes=3"}
        given |= {"zero_inflated": "(component=poisson"}
        for role in (POSTERIORS, LIKELIHOODS, PRIORS):
            for name, function in role.parts.items():
                text, start = expressions.signature(name, function), given.get(name, "")
                shortest = f"{name}{start})" if start else name
                written = text.replace(start.partition("=")[0], start, 1) if start else text
                assert make(written, role) is make(shortest, role)


def test_a_number_is_one_whether_it_is_written_with_a_point_or_not():
    assert canonical("normal(1)", LIKELIHOODS) == canonical("normal(scale=1.0)", LIKELIHOODS)


def test_what_is_quoted_is_not_divided():
    assert split_sum("""f("a+(b") + g('+)')""") == ['f("a+(b")', "g('+)')"]


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(ValueError, match=r"it is nested too deeply|it is no expression"):
        make(f"ring({'-' * 3000}1)", THINGS)
