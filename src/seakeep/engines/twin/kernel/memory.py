"""How compiled code reaches the world's tables: one record that holds the address of every other.

A function that is given many arrays gets seven machine words for each, copies them at every call
and counts references; with one pointer, calls are cheap and the code is small enough to be compiled
in seconds. So every table is plain memory that Python owns (a NumPy array of records), and a
`view` turns its address and an index into the record there.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar, cast, get_type_hints
from weakref import WeakKeyDictionary

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import compiler, compiler_machinery, typed_passes, untyped_passes
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic
from numba.np import arrayobj

F = TypeVar("F", bound=Callable[..., Any])


_untyped: Any = types
_compiler: Any = compiler
_machinery: Any = compiler_machinery
_stages: tuple[Any, ...] = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.RewriteSemanticConstants,
    untyped_passes.InlineInlinables,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)
KNOWN: dict[Any, Any] = {
    int: types.int64,
    float: types.float64,
    bool: types.boolean,
    type(None): types.none,
    np.uint64: types.uint64,
    tuple[int, int]: _untyped.Tuple((types.int64, types.int64)),
}


def compiled(function: F) -> F:
    """A part of the loop, to be called from compiled code only.

    Numba makes a library of every function, with all in it that the function calls, optimises each
    and turns each into machine code: for hundreds of small functions that takes a minute. Here all
    of them are lowered into the library of the loop that calls them, which is then optimised once.
    Types come from the annotations; what is `Any` is taken as it comes (records). Nothing in here
    may raise: whether a call did is not looked at.
    """
    return _part(function, inline=None)


def apart(function: F) -> F:
    """The same, never put into the place of a call: for what happens seldom, which would only be in
    the way of the rest."""
    return _part(function, inline=False)


def inlined(function: F) -> F:
    """The same, put into the place of every call: for what is short, or called in one place, on
    the way of every request."""
    return _part(function, inline=True)


def outlined(part: F) -> F:
    """Of an inlined part: one that is called, for places that are not on every request's way."""
    return compiled(cast(Any, part).function)


def _part(function: F, *, inline: bool | None) -> F:
    hints = get_type_hints(function)
    signature = inspect.signature(function)
    names = list(signature.parameters)
    returned = KNOWN[hints["return"]]
    made: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()

    def part(context: Any, *arguments: Any) -> Any:
        given = [
            KNOWN.get(hints[name]) or _untyped.unliteral(argument)
            for name, argument in zip(names, arguments, strict=True)
        ]

        def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
            library = target.active_code_library
            known = made.setdefault(library, {})
            if signature.args not in known:
                known[signature.args] = _lower(target, library, function, signature, inline)
            return _called(target, builder, known[signature.args], signature, values)

        return returned(*given), generate

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    plain = signature.replace(parameters=[context, *signature.parameters.values()])
    part.__signature__ = plain  # type: ignore[attr-defined]
    made_part: Any = intrinsic(part)
    made_part.function = function
    return cast(F, made_part)


class _Plain(_compiler.CompilerBase):  # type: ignore[misc]
    """Of Numba's stages only those that plain code needs: a third less time."""

    def define_pipelines(self) -> list[Any]:
        stages = _machinery.PassManager("part")
        for stage in _stages:
            stages.add_pass(stage, stage.name())
        stages.finalize()
        return [stages]


class _Typing:
    """A typing context that remembers which signature fits a function and its arguments: the same
    few dozen sums, comparisons and fields come thousands of times."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._known: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, arguments: Any, named: Any) -> Any:
        if named:
            return self._context.resolve_function_type(function, arguments, named)
        key = (function, tuple(arguments))
        if key not in self._known:
            self._known[key] = self._context.resolve_function_type(function, arguments, named)
        return self._known[key]


_typing = functools.cache(_Typing)


def _lower(target: Any, library: Any, function: Any, signature: Any, inline: bool | None) -> Any:
    flags = _compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.forceinline = inline is True
    plain = _Plain(
        _typing(target.typing_context),
        target,
        library,
        signature.args,
        signature.return_type,
        flags,
        {},
    )
    made = plain.compile_extra(function).fndesc
    lowered = library.get_function(made.llvm_func_name)
    # Or else it is kept beside where it was inlined.
    lowered.linkage = "linkonce_odr"
    if inline is False:
        for attribute in ("noinline", "cold", "optsize"):
            lowered.add_function_attribute(attribute)
    return made


def _called(target: Any, builder: Any, function: Any, signature: Any, values: Any) -> Any:
    """The result of a call that cannot raise: no place for an exception, and none for a result is
    cleared before."""
    callee = target.declare_function(builder.module, function)
    result, raised = callee.function_type.args[:2]
    with builder.goto_entry_block():
        slot = builder.alloca(result.pointee)
    packer = target.call_conv._get_arg_packer(signature.args)
    arguments = packer.as_arguments(builder, values)
    builder.call(callee, [slot, ir.Constant(raised, None), *arguments])
    return target.get_returned_value(builder, signature.return_type, builder.load(slot))


def ported(module: ModuleType) -> dict[str, Any]:
    """The functions of a module that Numba compiles one by one, as parts of the loop: by name."""
    names = dict(vars(module))
    for name, one in vars(module).items():
        if isinstance(one, Dispatcher) and "inline" not in one.targetoptions:
            plain = one.py_func
            copy = FunctionType(plain.__code__, names, name)
            copy.__annotations__ = plain.__annotations__
            names[name] = compiled(copy)
    return names


def record_of(dtype: "np.dtype[Any]") -> Any:
    """Numba's type of a row. Its name, by default all of its fields, would be part of the name of
    every function that takes one, and those names would be most of the code."""
    record = numba.from_dtype(dtype)
    record.name = f"Row{len(dtype.names or ())}.{dtype.itemsize}"
    return record


def view(dtype: "np.dtype[Any]") -> Any:
    """A function (address, index) -> the record of this type there, to be read and written."""
    record = record_of(dtype)

    def at(context: Any, base: Any, index: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address, place = arguments
            offset = builder.mul(place, ir.Constant(place.type, dtype.itemsize), flags=["nsw"])
            return builder.inttoptr(builder.add(address, offset), target.get_value_type(record))

        return record(types.int64, types.int64), generate

    return intrinsic(at)


def row_in(world: "np.dtype[Any]", name: str, dtype: "np.dtype[Any]") -> Any:
    """A function (world, index) -> the record there, in the table whose address is the world's
    field of that name. No table moves while the loop runs, which spares the compiler from looking
    where it is after everything that is written."""
    fields: Any = world.fields
    record, where = record_of(dtype), fields[name][1]

    def at(context: Any, base: Any, index: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            owner, place = arguments
            bytes_ = builder.bitcast(owner, ir.IntType(8).as_pointer())
            field = builder.gep(bytes_, [ir.Constant(ir.IntType(64), where)], inbounds=True)
            address = builder.load(builder.bitcast(field, place.type.as_pointer()))
            address.set_metadata("invariant.load", builder.module.add_metadata([]))
            offset = builder.mul(place, ir.Constant(place.type, dtype.itemsize), flags=["nsw"])
            return builder.inttoptr(builder.add(address, offset), target.get_value_type(record))

        return record(base, types.int64), generate

    return intrinsic(at)


def _digits(context: Any, value: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (number,) = arguments
        zeros = builder.ctlz(number, ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(number.type, 64), zeros)

    return types.int64(types.int64), generate


digits_of: Any = intrinsic(_digits)
"""How many binary digits a whole number has."""


def table(dtype: "np.dtype[Any]") -> Any:
    """A function (address, rows) -> the whole table there, as an array."""
    arrays: Any = arrayobj
    kind = types.Array(numba.from_dtype(dtype), 1, "C")

    def whole(context: Any, base: Any, count: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address, rows = arguments
            array = arrays.make_array(kind)(target, builder)
            size = target.get_constant(types.intp, dtype.itemsize)
            arrays.populate_array(
                array,
                data=builder.inttoptr(address, array.data.type),
                shape=(rows,),
                strides=(size,),
                itemsize=size,
                meminfo=None,
            )
            return array._getvalue()

        return kind(types.int64, types.int64), generate

    return intrinsic(whole)


def digest_of(*places: Path) -> int:
    """Of the source text of everything that is compiled into one: files, and folders of them."""
    text = hashlib.sha256()
    for place in places:
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            text.update(path.read_bytes())
    return int.from_bytes(text.digest()[:7], "little")
