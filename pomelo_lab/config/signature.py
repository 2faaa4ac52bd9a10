"""Checks of config nodes against the signatures of constructors: unknown and missing arguments, types and ranges."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pomelo_lab.config.describe import describe, did_you_mean, why_not
from pomelo_lab.config.hints import NotFingerprinted, OmitDefault, Range, Weights
from pomelo_lab.config.problem import Problem
from pomelo_lab.config.tree import is_node
from pomelo_lab.config.users_module import import_named

MISSING = "???"


class Component:
    """The base class of components: keyword-only dataclasses whose constructor arguments are their configuration.

    The constructor checks values by the same rules as the check of a config. Python users therefore get the same
    messages.

    Raises: ValueError with the argument, its value and the expectation.
    """

    # increase it when the results of a component change: the fingerprints of stored results then no longer match
    revision: ClassVar[int] = 1
    # the inputs that the component needs in addition to images; an instance also has the needs of inner components
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        values, role = (
            {name: getattr(self, name) for name in parameters(type(self)) if hasattr(self, name)},
            role_of(type(self)),
        )
        problems = list(value_problems(type(self), values, role)) or [
            f"{role}.{text}" for text in self.config_problems(values)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        inside = (value.needs for value in values.values() if isinstance(value, Component))
        if (needs := self.needs_for(values).union(*inside)) != type(self).needs:
            self.needs = needs

    @classmethod
    def needs_for(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """The needs of the component with these arguments, without those of inner components. By default, `needs`.

        Args: given: all arguments, including defaults. Inner components are objects or config nodes.
        """
        return cls.needs

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterable[str]:
        """Problems of arguments that are valid alone but not together: texts to follow the component's key and a dot.

        Args: given: all arguments, including defaults, without components that the job supplies.
        """
        return ()


def role_of(target: type) -> str:
    """The role of a component: the folder of its class or base class (`sampler` for `pomelo_lab.sampler.blur`)."""
    for base in target.__mro__:
        parts = base.__module__.split(".")
        if parts[0] == "pomelo_lab" and len(parts) > 2 and parts[1] != "config":
            return parts[1]
    return target.__name__


def locate(path: str) -> Any:
    """Imports `package.module.Name`.

    Raises: ImportError with the missing part of the path and a similar name, or with the error that a user's module
        raised and its line.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ImportError(f"{path!r} is not an importable path: expected package.module.Name")
    module = import_named(module_name, path)
    if not hasattr(module, name):
        raise ImportError(f"{path!r}: module {module_name} has no {name!r}{did_you_mean(name, dir(module))}")
    return getattr(module, name)


@functools.cache
def parameters(target: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a constructor or a function, without self, `*args` and `**kwargs`."""
    signature = inspect.signature(target)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in signature.parameters.items() if p.kind in named}


def defaults(target: Any) -> dict[str, Any]:
    """The default values of the arguments that have one. Default factories of dataclasses are called."""
    values = {n: p.default for n, p in parameters(target).items() if p.default is not inspect.Parameter.empty}
    for field in dataclasses.fields(target) if dataclasses.is_dataclass(target) else ():
        if field.name in values and field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
    return values


@functools.cache
def hints(target: Any) -> dict[str, Any]:
    """The type hints of a constructor or a function as objects, with their `Annotated` rules.

    A dataclass may inherit fields from other modules. Each hint is therefore evaluated in the module of its class.
    A hint that only a type checker can evaluate becomes Any.
    """
    if inspect.isclass(target) and dataclasses.is_dataclass(target):
        evaluated_hints: dict[str, Any] = {}
        for base in reversed(target.__mro__):
            scope = vars(sys.modules[base.__module__])
            for name, hint in vars(base).get("__annotations__", {}).items():
                evaluated_hints[name] = evaluate_hint(hint, scope)
    else:
        function = target if inspect.isfunction(target) else target.__init__
        evaluated_hints = {
            name: evaluate_hint(hint, function.__globals__)
            for name, hint in getattr(function, "__annotations__", {}).items()
        }
    return {name: hint for name, hint in evaluated_hints.items() if name in parameters(target)}


def evaluate_hint(hint: Any, scope: dict[str, Any]) -> Any:
    """A hint as an object. Hints that are text are evaluated."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, scope)  # noqa: S307 (the annotation of an imported class, as typing.get_type_hints evaluates it)
    except NameError:
        return Any


def rules(hint: Any, kind: type) -> Iterator[Any]:
    """Yields the `Annotated` rules of one kind in a hint, also inside unions (`Annotated[int, Range(1)] | None`)."""
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, kind):
            yield extra
    for inner in typing.get_args(hint):
        yield from rules(inner, kind)


def is_local(hint: Any) -> bool:
    """Whether the hint belongs to an argument that fingerprints leave out, such as a location."""
    return any(True for _ in rules(hint, NotFingerprinted))


def is_later(hint: Any) -> bool:
    """Whether the hint belongs to an argument that fingerprints leave out at its default value."""
    return any(True for _ in rules(hint, OmitDefault))


def is_weights(hint: Any) -> bool:
    """Whether the hint belongs to a path of weights."""
    return any(True for _ in rules(hint, Weights))


def injected_role(hint: Any) -> type[Component] | None:
    """The component class in the hint of a parameter (`filler: Filler`). None for plain values."""
    candidates = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    for candidate in candidates:
        if inspect.isclass(candidate) and issubclass(candidate, Component):
            return candidate
    return None


def node_problems(
    node: Mapping[str, Any], key: str, expected: type | None = None, injectable: tuple[type, ...] = ()
) -> list[str]:
    """All problems of a `_target_` node and of its inner nodes. An empty list when the node can be built.

    Args:
        node: a plain mapping with resolved interpolations.
        key: the dotted key of the node, for messages.
        expected: the base class that the node's class must have; None = any class.
        injectable: classes of the components that the job supplies for missing arguments.
    """
    path = node.get("_target_")
    if not isinstance(path, str):
        return [f"{key}._target_ is missing: expected the path of a class, e.g. pomelo_lab.sampler.blur.BlurSampler"]
    try:
        target = locate(path)
    except ImportError as error:
        return [f"{key}._target_: {error}"]
    if expected is not None and not (inspect.isclass(target) and issubclass(target, expected)):
        return [f"{key} must be a {expected.__name__}, got {path.rpartition('.')[2]}{why_not(expected)}"]
    known, partial = parameters(target), node.get("_partial_")
    given = {name: value for name, value in node.items() if not name.startswith("_") or name in known}
    problems = list(unknown_arguments(target, given, key))
    problems += () if partial else missing_arguments(target, given, key, injectable)
    problems += value_problems(target, {n: v for n, v in given.items() if n in known and v != MISSING}, key, injectable)
    if not problems and hasattr(target, "config_problems"):
        supplied = {} if partial else supplied_options(target, given, injectable)
        problems += [f"{key}.{text}" for text in target.config_problems({**defaults(target), **supplied, **given})]
    return problems


def unknown_arguments(target: Any, given: Mapping[str, Any], key: str) -> Iterator[str]:
    """One message for each argument that a class does not have. It names the most similar argument."""
    known = parameters(target)
    catch_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values())
    for name in given if not catch_all else ():
        if name not in known:
            takes = ", ".join(known) or "nothing"
            yield f"{key}.{name} is unknown to {target.__name__}{did_you_mean(name, known)}; it takes {takes}"


def missing_arguments(target: Any, given: Mapping[str, Any], key: str, injectable: tuple[type, ...]) -> Iterator[str]:
    """One message for each argument that has no value and is not supplied by the job."""
    for name, parameter in parameters(target).items():
        hint = hints(target).get(name)
        role, absent = injected_role(hint), name not in given and parameter.default is inspect.Parameter.empty
        if absent and role is not None:
            yield from not_supplied(f"{key}.{name}", key, role, injectable)
        elif absent or given.get(name) == MISSING:
            yield f"{key}.{name} is missing: expected {describe(Any if hint is None else hint)}"


def not_supplied(argument: str, key: str, role: type, injectable: tuple[type, ...]) -> Iterator[str]:
    """The message for an argument whose component the job does not supply, if that is the case.

    Args: argument: the key of the argument; key: the key of the component with this argument.
    """
    fits = (c for c in injectable if c is not None and (issubclass(c, role) or role_of(c) == role_of(role)))
    supplier = next(fits, None)
    if supplier is None:
        yield f"{argument} is missing: expected a {role.__name__}"
    elif not issubclass(supplier, role):
        text = f"{argument} needs a {role.__name__}, the job has {supplier.__name__}{why_not(role)}"
        lacks = f"needs {role.__name__}, not {supplier.__name__}" if role_of(role) == "dataset" else ""
        yield Problem(text, key, lacks)


def supplied_options(target: Any, given: Mapping[str, Any], injectable: tuple[type, ...]) -> dict[str, type]:
    """The classes of the job's components that replace the default value of an argument, by argument."""
    supplied: dict[str, type] = {}
    for name, parameter in parameters(target).items():
        role = injected_role(hints(target).get(name))
        if role is None or name in given or parameter.default is inspect.Parameter.empty:
            continue
        kind = next((kind for kind in injectable if kind is not None and issubclass(kind, role)), None)
        if kind is not None:
            supplied[name] = kind
    return supplied


def value_problems(
    target: Any, values: Mapping[str, Any], key: str, injectable: tuple[type, ...] = ()
) -> Iterator[str]:
    """Problems of argument values that do not match the hints of `target`."""
    known = hints(target)
    for name, value in values.items():
        if name in known:
            yield from type_problems(value, known[name], f"{key}.{name}", injectable)


def type_problems(value: Any, hint: Any, key: str, injectable: tuple[type, ...] = ()) -> list[str]:
    """Problems of a value that does not match a hint. Values with a hint of an unknown kind are accepted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return range_problems(value, hint, key, injectable)
    if origin in (typing.Union, types.UnionType):
        return union_problems(value, hint, key, injectable)
    if origin is typing.Literal:
        if value in args and isinstance(value, type(args[args.index(value)])):
            return []
        return [f"{key} must be {describe(hint)}, got {value!r}{did_you_mean(str(value), [str(a) for a in args])}"]
    if is_node(value):
        base = hint if inspect.isclass(hint) and issubclass(hint, Component) else None
        if base is None and inspect.isclass(hint):
            return [f"{key} must be {describe(hint)}, got a component"]
        return node_problems(value, key, base, injectable)
    if inspect.isclass(origin) and issubclass(origin, (Mapping, Sequence)):
        return inner_problems(value, hint, key, injectable)
    if hint is None:
        return [] if value is None else [f"{key} must be null, got {value!r}"]
    if accepts(hint, value):
        return []
    return [f"{key} must be {describe(hint)}, got {format_value(value)}{why_not(hint)}"]


def range_problems(value: Any, hint: Any, key: str, injectable: tuple[type, ...]) -> list[str]:
    """Problems of a value with an `Annotated` hint: those of its type, or else those of its range."""
    plain, *extras = typing.get_args(hint)
    problems = type_problems(value, plain, key, injectable)
    if problems and plain in (int, float):
        return [f"{key} must be {describe(hint)}, got {value!r}"]
    ranges = [e for e in extras if isinstance(e, Range)] if isinstance(value, (int, float)) else []
    broken = (extra.problem(value) for extra in ranges)
    return problems or [f"{key} must be {rule}, got {value!r}" for rule in broken if rule]


def union_problems(value: Any, hint: Any, key: str, injectable: tuple[type, ...]) -> list[str]:
    """Problems of a value with a union hint. There are none when the value matches one alternative.

    Otherwise the message is that of the alternative that the value was probably meant for.
    """
    by_choice = [type_problems(value, choice, key, injectable) for choice in typing.get_args(hint)]
    if not all(by_choice):
        return []
    if is_node(value) and (component := injected_role(hint)) is not None:
        return type_problems(value, component, key, injectable)
    ranged = [p for problems in by_choice for p in problems if "must be " in p and "expected" not in p]
    return ranged[:1] or [f"{key} must be {describe(hint)}, got {value!r}"]


def inner_problems(value: Any, hint: Any, key: str, injectable: tuple[type, ...]) -> list[str]:
    """Problems of a value with a hint of a mapping or a list: those of its type, or else those of its items."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return [f"{key} must be a mapping, got {value!r}"]
        kind, items = args[1] if len(args) == 2 else Any, [(f".{name}", item) for name, item in value.items()]
    else:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return [f"{key} must be a list, got {value!r}"]
        kind, items = args[0] if args else Any, [(f"[{i}]", item) for i, item in enumerate(value)]
    return [p for suffix, item in items for p in type_problems(item, kind, key + suffix, injectable)]


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value has a plain type or component class. Integers count as floats. Other hints accept all values."""
    if hint in (int, float):
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    if hint in (str, bool, list, dict, type(None)) or (inspect.isclass(hint) and issubclass(hint, Component)):
        return isinstance(value, hint)
    return True


def format_value(value: Any) -> str:
    """A value as text for messages: the class name of a component, or the repr of another value."""
    return type(value).__name__ if isinstance(value, Component) else repr(value)
