"""Parts chosen by text: `"iaf(num_layers=4)"`, `"zero_inflated(poisson)"`, `"mypackage.nets:tower(width=64)"`."""

import ast
import difflib
import functools
import importlib
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .names import nearest

_CUSTOM = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*):(.*)", re.DOTALL)


class Role(NamedTuple):
    """What a part is for.

    Attributes:
      name: what messages call such a part: "posterior".
      kind: the class, or classes, of its values.
      parts: by name, the functions that return them.
    """

    name: str
    kind: Any
    parts: Mapping[str, Callable[..., Any]]


def make(value: Any, role: Role, **later: Any) -> Any:
    """Returns the part that an expression describes; a part itself is returned as it is.

    An expression is a name of the role's table, with literal arguments in parentheses or without: "vamp(500)". A bare
    name among the arguments is a text, and a part where the argument is one. "module:name" before the arguments, or
    without any, is a function, or a part, of one's own.

    Args:
      value: the expression, or a part.
      role: of the part.
      **later: arguments that the expression leaves to the caller, for a function that has them.

    Raises:
      ValueError: naming the nearest name and the signature, for an unknown part or argument, an argument that is no
        literal, a module that cannot be imported, or whatever the part's own function refuses.
      TypeError: for what is neither an expression nor a part of this role.
    """
    if not isinstance(value, str):
        if isinstance(value, role.kind):
            return value
        raise TypeError(f"the {role.name} must be an expression or a {_kinds(role)}, got {value!r:.100}")
    part = parse(value, role, later=tuple(later))
    if not isinstance(part, _Call):
        return part
    with _naming(role, value):
        taken = inspect.signature(part.func).parameters
        made = part(**{name: argument for name, argument in later.items() if name in taken})
    if not isinstance(made, role.kind):
        raise ValueError(f"{role.name} {value!r}: it returned a {type(made).__name__}, not a {_kinds(role)}")
    return made


def parse(text: str, role: Role, *, later: tuple[str, ...] = ()) -> Any:
    """Returns the function of an expression with its arguments, not yet called; or a part of one's own, as it is.

    Args:
      text: the expression.
      role: of the part.
      later: names of arguments that the caller of the function gives.

    Raises:
      ValueError: as `make`.
    """
    with _naming(role, text):
        custom = _CUSTOM.fullmatch(text.strip())
        try:
            call = ast.parse(custom[2] if custom else text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"it is no expression, as {_example(role)} is one") from error
        name, nodes, keywords = call, [], []
        if isinstance(call, ast.Call):
            name, nodes, keywords = call.func, call.args, call.keywords
        if not isinstance(name, ast.Name) or any(keyword.arg is None for keyword in keywords):
            raise ValueError(f"it is no name with literal arguments, as {_example(role)} is one")
        function = _imported(custom[1], name.id) if custom else _listed(name.id, role, later)
        # A class has the methods of its instances, and so it looks like a part of a protocol: a body's, for one.
        is_part = isinstance(function, role.kind) and not isinstance(function, type)
        if custom and is_part and not isinstance(call, ast.Call):
            return function
        if not callable(function):
            raise ValueError(f"{name.id} is neither a function nor a {_kinds(role)}, but a {type(function).__name__}")
        return _bound(name.id, function, nodes, keywords, role, later)


def canonical(text: str, role: Role, *, later: tuple[str, ...] = ()) -> str:
    """Returns an expression with every argument by name and every default; texts of one part become one.

    What is no legal expression is returned as it is, and so is one that names a module, which is not imported for it.
    """
    if modules(text):
        return text.strip()
    try:
        part = parse(text, role, later=later)
    except ValueError:
        return text
    if not isinstance(part, _Call):
        return text
    head = text.partition("(")[0].strip()
    bound = inspect.signature(part.func).bind_partial(**part.keywords)
    bound.apply_defaults()
    given = {name: value for name, value in bound.arguments.items() if name not in later}
    for name, hint in _hints(part.func).items():
        if type(given.get(name)) is int and float in (hint, *typing.get_args(hint)):
            given[name] = float(given[name])
    return f"{head}({', '.join(f'{name}={value!r}' for name, value in sorted(given.items()))})"


def signature(name: str, function: Callable[..., Any], *, later: tuple[str, ...] = ()) -> str:
    """Returns how a part is written: "iaf(num_layers=2, hidden=(64,))"; required arguments without a value."""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in later and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            default = parameter.default
            value = "" if default is parameter.empty else f"={default if isinstance(default, str) else repr(default)}"
            shown.append(parameter.name + value)
    return f"{name}({', '.join(shown)})" if shown else name


def modules(text: str) -> list[str]:
    """Returns the modules that an expression would import, its own and those of quoted parts in it."""
    custom = _CUSTOM.fullmatch(text.strip())
    found = [custom[1]] if custom else []
    try:
        nodes = list(ast.walk(ast.parse(custom[2] if custom else text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found  # it is refused when it is read
    quoted = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found + [module for text in quoted for module in modules(text)]


def split_sum(text: str) -> list[str]:
    """Returns the expressions that " + " joins; none of an empty text."""
    parts, depth, start, quote = [], 0, 0, ""
    for place, character in enumerate(text):
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        depth += 0 if quote else (character in "([{") - (character in ")]}")
        if character == "+" and depth == 0 and not quote:
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in (*parts, text[start:])] if text.strip() else []


def _listed(name: str, role: Role, later: tuple[str, ...]) -> Callable[..., Any]:
    if name not in role.parts:
        near = difflib.get_close_matches(name, role.parts, n=1)
        written = "".join(f" {best} is written {signature(best, role.parts[best], later=later)}." for best in near)
        raise ValueError(
            f"unknown {role.name} {name!r}.{nearest(name, role.parts)}{written} Known: {', '.join(role.parts)}; one of "
            "your own is module:name"
        )
    return role.parts[name]


def _imported(module: str, name: str) -> Any:
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a user's program, which may raise anything
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        raise ValueError(f"{module} has no {name!r}.{nearest(name, dir(found))}")
    return getattr(found, name)


def _bound(
    name: str,
    function: Callable[..., Any],
    nodes: list[ast.expr],
    keywords: list[ast.keyword],
    role: Role,
    later: tuple[str, ...],
) -> "_Call":
    parameters = inspect.signature(function).parameters
    written = f"{name} is written {signature(name, function, later=later)}"
    for keyword in keywords:
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if keyword.arg in later or (keyword.arg not in parameters and not takes_any):
            legal = [argument for argument in parameters if argument not in later]
            raise ValueError(f"{name} has no argument {keyword.arg!r}.{nearest(str(keyword.arg), legal)} {written}")
    hints = _hints(function)
    positional = [argument for argument in parameters if argument not in later]
    if len(nodes) > len(positional):
        raise ValueError(f"{len(nodes)} arguments are too many; {written}")
    given = dict(zip(positional, nodes, strict=False))
    for keyword in keywords:
        if keyword.arg in given:
            raise ValueError(f"{keyword.arg} is given twice; {written}")
        given[str(keyword.arg)] = keyword.value
    arguments = {}
    for argument, node in given.items():
        kinds = (hints.get(argument), *typing.get_args(hints.get(argument)))
        is_none = isinstance(node, ast.Constant) and node.value is None and type(None) in kinds
        is_part = role.kind in kinds and not is_none
        arguments[argument] = _nested(node, role) if is_part else _literal(node, argument)
    missing = [
        argument
        for argument, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and argument not in (*arguments, *later)
    ]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given; {written}")
    return _Call(function, **arguments)


class _Call(functools.partial):
    """A function with the arguments of an expression; a `functools.partial` of one's own is a part as it is."""


def _nested(node: ast.expr, role: Role) -> Any:
    """Returns a part among the arguments of a part; one of one's own is a quoted expression."""
    quoted = node.value if isinstance(node, ast.Constant) else None
    return make(quoted if isinstance(quoted, str) else ast.unparse(node), role)


def _literal(node: ast.expr, argument: str) -> Any:
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            return value
        case ast.Name(id="inf"):
            return math.inf
        case ast.Name(id=name):
            return name
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _literal(operand, argument)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value if isinstance(sign, ast.USub) else value
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_literal(item, argument) for item in items)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_literal(key, argument): _literal(value, argument) for key, value in pairs if key is not None}
    raise ValueError(f"{argument}={ast.unparse(node)} is no literal: give a number, a name, a tuple, True or None")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # annotations of one's own that do not evaluate
        return {}


def _example(role: Role) -> str:
    return repr(max((signature(*item) for item in role.parts.items()), key=len))


def _kinds(role: Role) -> str:
    return " or a ".join(kind.__name__ for kind in (role.kind if isinstance(role.kind, tuple) else (role.kind,)))


class _naming:
    """Puts the expression before the message of an error that its part raises."""

    def __init__(self, role: Role, text: str) -> None:
        self._prefix = f"{role.name} {text!r}: "

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RecursionError):
            raise ValueError(f"{self._prefix:.200}it is nested too deeply") from error
        if isinstance(error, ValueError | TypeError):
            raise ValueError(self._prefix + str(error)) from error
