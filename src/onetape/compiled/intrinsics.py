"""Everything that speaks to the compiler itself. Loaded only when something is compiled.

Three things live here: `jit` (the flags), the `Row` type (a pointer to one record whose integer
fields read as int64, exactly as in the Python twin), and the machine form of each operation that
`rows`, `memory` and `atomics` declare by its twin.
"""

import ctypes
import platform
import sys
import threading
from importlib import import_module
from typing import Any, ClassVar

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, config
from numba.core import ir as numba_ir
from numba.core.datamodel import models
from numba.core.errors import NumbaError, TypingError
from numba.core.imputils import lower_getattr_generic, lower_setattr_generic
from numba.core.registry import cpu_target
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.core.typing.typeof import typeof, typeof_impl
from numba.extending import intrinsic, register_model
from numba.np import arrayobj

from onetape.compiled.kernel import Kernel

CompileError = NumbaError  # what the compiler says when it cannot

_FOLDER_LOCK = threading.Lock()  # the compiler reads its cache folder from a global


def jit(py_func: Any, folder: str | None, *, boundscheck: bool, inline: bool) -> Any:
    """Compile `py_func` lazily with the project's flags, cached in `folder` (None: not cached).

    inline  merge it into whatever calls it: an array argument is seven words on the stack, and a
            call with a handful of arrays costs more than most kernels do
    """
    with _FOLDER_LOCK:
        before, config.CACHE_DIR = config.CACHE_DIR, folder or config.CACHE_DIR
        try:
            flags = {
                "nogil": True,
                "_nrt": False,
                "boundscheck": boundscheck,
                "forceinline": inline,
            }
            return _plain_arguments(njit(cache=folder is not None, **flags)(py_func))
        finally:
            config.CACHE_DIR = before


def _plain_arguments(dispatcher: Any) -> Any:
    """Let a constant argument be an integer like any other.

    By itself the compiler makes another copy of a kernel for each literal it is called with: twice
    the time to compile, for nothing, since LLVM inlines and folds constants anyway.
    """
    by_type = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        plain = {name: types.unliteral(kind) for name, kind in kws.items()}
        return by_type([types.unliteral(kind) for kind in args], plain)

    dispatcher.get_call_template = get_call_template
    return dispatcher


def machine_form(home: str, name: str) -> Any:
    """The intrinsic `name` of module `home`; makes it known if the module is loaded only now."""
    known = home in sys.modules
    found = getattr(import_module(home), name)
    if not known:
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
    return found


def signature(arguments: list[Any]) -> tuple[Any, ...]:
    """The compiler's types of the arguments of a call."""
    return tuple(typeof(argument) for argument in arguments)


@typeof_impl.register(Kernel)
def _typeof_kernel(kernel: Kernel, _context: Any) -> Any:
    """A kernel named inside a kernel has the type of its machine form."""
    return cpu_target.typing_context.resolve_value_type(kernel.dispatcher)


# --- rows: a pointer to one record ----------------------------------------------------------------


class Row(types.Type):
    """One record in place. Every integer field reads as int64; u64 as its int64 bit pattern.

    A fixed row is read-only: what an operator is given of others.
    """

    def __init__(self, record: types.Record, is_fixed: bool = False) -> None:
        self.record, self.is_fixed = record, is_fixed
        super().__init__(f"{'Event' if is_fixed else 'Row'}({record.name})")


@register_model(Row)
class RowModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Row) -> None:
        super().__init__(dmm, fe_type, ir.IntType(8).as_pointer())


@infer_getattr
class RowAttributes(AttributeTemplate):
    key = Row

    def generic_resolve(self, row: Row, attr: str) -> Any:
        if attr not in row.record.fields:
            return None
        field = row.record.typeof(attr)
        if row.is_fixed and isinstance(field, types.NestedArray):
            return types.Array(field.dtype, field.ndim, "C", readonly=True)
        return types.int64 if isinstance(field, types.Integer) else field


def _member(context: Any, builder: Any, row: Row, value: Any, attr: str) -> tuple[Any, Any]:
    """(type of the field, pointer to it)."""
    field = row.record.typeof(attr)
    scalar = field.dtype if isinstance(field, types.NestedArray) else field
    at = builder.gep(value, [context.get_constant(types.intp, row.record.offset(attr))])
    return field, builder.bitcast(at, context.get_data_type(scalar).as_pointer())


@lower_getattr_generic(Row)
def _row_get(context: Any, builder: Any, row: Row, value: Any, attr: str) -> Any:
    field, pointer = _member(context, builder, row, value, attr)
    if isinstance(field, types.NestedArray):
        array = arrayobj.make_array(field)(context, builder)
        arrayobj.populate_array(
            array,
            data=pointer,
            shape=cgutils.pack_array(
                builder, [context.get_constant(types.intp, n) for n in field.shape]
            ),
            strides=cgutils.pack_array(
                builder, [context.get_constant(types.intp, n) for n in field.strides]
            ),
            itemsize=context.get_constant(types.intp, field.dtype.bitwidth // 8),
            meminfo=None,
            parent=None,
        )
        return array._getvalue()
    loaded = context.unpack_value(builder, field, pointer, 1)
    if isinstance(field, types.Integer):
        return context.cast(builder, loaded, field, types.int64)
    return loaded


@lower_setattr_generic(Row)
def _row_set(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> None:
    row, given = sig.args
    if row.is_fixed:
        raise TypingError(f"event field {attr} is assigned to")
    field, pointer = _member(context, builder, row, args[0], attr)
    context.pack_value(builder, field, context.cast(builder, args[1], given, field), pointer, 1)


def narrowings(dispatcher: Any) -> list[str]:
    """Where freshly compiled code puts a float into an integer field: 'file:line: field'.

    The compiler would cut the fraction off without a word; it casts before `_row_set` is asked.
    """
    found = []
    for compiled in dispatcher.overloads.values():
        typed = compiled.type_annotation
        for block in getattr(typed, "blocks", {}).values():
            for step in block.body:
                cell = isinstance(step, numba_ir.SetItem | numba_ir.StaticSetItem)
                if not cell and not isinstance(step, numba_ir.SetAttr):
                    continue
                target, given = typed.typemap[step.target.name], typed.typemap[step.value.name]
                if not isinstance(given, types.Float):
                    continue
                place = f"{step.loc.filename}:{step.loc.line}: "
                if cell and isinstance(target, types.Array):
                    if isinstance(target.dtype, types.Integer):
                        found.append(f"{place}a cell of an array")
                elif isinstance(target, Row):
                    if isinstance(target.record.typeof(step.attr), types.Integer):
                        found.append(f"{place}{step.attr}")
    return found


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Byte pointer to array[index], checked when the mode checks bounds."""
    view = context.make_array(array_type)(context, builder, array)
    if context.enable_boundscheck:
        cgutils.do_boundscheck(context, builder, index, builder.extract_value(view.shape, 0))
    pointer = builder.gep(view.data, [index])
    return builder.bitcast(pointer, ir.IntType(8).as_pointer())


def _is_records(array: Any) -> bool:
    return isinstance(array, types.Array) and isinstance(array.dtype, types.Record)


@intrinsic
def row(typing_context, array, index):  # type: ignore[no-untyped-def]
    if not _is_records(array):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _element(context, builder, sig.args[0], args[0], args[1])

    return Row(array.dtype)(array, types.int64), codegen


@intrinsic
def fixed(typing_context, one):  # type: ignore[no-untyped-def]
    if not isinstance(one, Row):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return args[0]

    return Row(one.record, is_fixed=True)(one), codegen


@intrinsic
def clear_row(typing_context, array, index):  # type: ignore[no-untyped-def]
    if not _is_records(array):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = _element(context, builder, sig.args[0], args[0], args[1])
        cgutils.memset(builder, pointer, context.get_constant(types.intp, array.dtype.size), 0)
        return pointer

    return Row(array.dtype)(array, types.int64), codegen


@intrinsic
def copy_row(typing_context, target, i, source, j):  # type: ignore[no-untyped-def]
    if not _is_records(target) or not _is_records(source) or target.dtype != source.dtype:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        to = _element(context, builder, sig.args[0], args[0], args[1])
        start = _element(context, builder, sig.args[2], args[2], args[3])
        cgutils.raw_memcpy(
            builder, to, start, context.get_constant(types.intp, target.dtype.size), 1, align=8
        )
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen


@intrinsic
def row_at(typing_context, like, buffer, at):  # type: ignore[no-untyped-def]
    if not _is_records(like):
        return None
    size = like.dtype.size

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _bytes_at(context, builder, sig.args[1], args[1], args[2], size)

    return Row(like.dtype)(like, buffer, types.int64), codegen


@intrinsic
def put_row(typing_context, target, i, source):  # type: ignore[no-untyped-def]
    if isinstance(source, types.Optional):  # the caller knows that it is there
        source = source.type
    if not _is_records(target) or not isinstance(source, Row) or source.record != target.dtype:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        to = _element(context, builder, sig.args[0], args[0], args[1])
        size = context.get_constant(types.intp, target.dtype.size)
        cgutils.raw_memcpy(builder, to, args[2], size, 1, align=1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source), codegen


# --- calls through a pointer ----------------------------------------------------------------------


class Pointer:
    """A word in memory that machine code calls through: by name, so the code can be kept on disk.

    A word is never freed, and there is one a name: code that was made knows where it is.
    """

    _words: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: tuple[Any, ...] = ()  # of the arguments, once a caller was compiled
        if name not in self._words:
            word = self._words[name] = (ctypes.c_void_p * 1)()
            llvmlite.binding.add_symbol(name, ctypes.addressof(word))

    def set(self, dispatcher: Any) -> None:
        """Point at compiled code that has one signature; the caller keeps it alive."""
        (made,) = dispatcher.overloads.values()
        address = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
        self._words[self.name][0] = address


def called_by(pointer: Pointer, count: int) -> Any:
    """The machine form of a call of `count` arguments through `pointer`; it returns nothing."""

    def typed(given: tuple[Any, ...]) -> Any:
        kinds = pointer.kinds = tuple(types.unliteral(kind) for kind in given)

        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            convention = context.call_conv
            function_type = convention.get_function_type(types.none, kinds)
            word = builder.module.globals.get(pointer.name)
            if word is None:
                kind = function_type.as_pointer()
                word = ir.GlobalVariable(builder.module, kind, pointer.name)
            callee = builder.load(word)
            status, _ = convention.call_function(builder, callee, types.none, kinds, args)
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.none(*kinds), codegen

    names = ", ".join(f"a{i}" for i in range(count))
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(typing_context, {names}):\n    return typed(({names},))", scope)
    return intrinsic(scope["call"])


# --- memory: integers in a byte buffer ------------------------------------------------------------


def _bytes_at(context: Any, builder: Any, buffer_type: Any, buffer: Any, at: Any, n: int) -> Any:
    """Byte pointer to buffer[at]; in the checked mode buffer[at + n - 1] must exist too."""
    if context.enable_boundscheck:
        last = builder.add(at, context.get_constant(types.intp, n - 1))
        _element(context, builder, buffer_type, buffer, last)
    return _element(context, builder, buffer_type, buffer, at)


def _load(bits: int, *, big_endian: bool, signed: bool = False) -> Any:
    @intrinsic
    def load(typing_context, buffer, at):  # type: ignore[no-untyped-def]
        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            kind = ir.IntType(bits)
            pointer = _bytes_at(context, builder, sig.args[0], args[0], args[1], bits // 8)
            value = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=1)
            if big_endian:
                value = builder.bswap(value)
            if bits == 64:
                return value
            extend = builder.sext if signed else builder.zext
            return extend(value, ir.IntType(64))

        return types.int64(buffer, types.int64), codegen

    return load


def _store(bits: int, *, big_endian: bool) -> Any:
    @intrinsic
    def store(typing_context, buffer, at, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            kind = ir.IntType(bits)
            pointer = _bytes_at(context, builder, sig.args[0], args[0], args[1], bits // 8)
            word = args[2] if bits == 64 else builder.trunc(args[2], kind)
            if big_endian:
                word = builder.bswap(word)
            builder.store(word, builder.bitcast(pointer, kind.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(buffer, types.int64, types.int64), codegen

    return store


load_u16be = _load(16, big_endian=True)
load_u32be = _load(32, big_endian=True)
load_i64be = _load(64, big_endian=True)
load_u16le = _load(16, big_endian=False)
load_u32le = _load(32, big_endian=False)
load_i64le = _load(64, big_endian=False)
store_u16be = _store(16, big_endian=True)
store_u32be = _store(32, big_endian=True)
store_i64be = _store(64, big_endian=True)
store_u16le = _store(16, big_endian=False)
store_u32le = _store(32, big_endian=False)
store_i64le = _store(64, big_endian=False)


@intrinsic
def copy_bytes(typing_context, target, to, source, start, count):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if context.enable_boundscheck:
            one = context.get_constant(types.intp, 1)
            some = builder.icmp_signed(">", args[4], context.get_constant(types.intp, 0))
            with builder.if_then(some):
                for array, index in ((0, 1), (2, 3)):
                    last = builder.sub(builder.add(args[index], args[4]), one)
                    _element(context, builder, sig.args[array], args[array], last)
                    _element(context, builder, sig.args[array], args[array], args[index])
        unchecked = context.make_array(sig.args[0])(context, builder, args[0])
        to_pointer = builder.gep(unchecked.data, [args[1]])
        unchecked = context.make_array(sig.args[2])(context, builder, args[2])
        from_pointer = builder.gep(unchecked.data, [args[3]])
        cgutils.raw_memcpy(builder, to_pointer, from_pointer, args[4], 1, align=1)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(target, i64, source, i64, i64), codegen


@intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        bytes_ = ir.IntType(8).as_pointer()
        unchecked = context.make_array(sig.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(unchecked.data, [args[1]]), bytes_)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [bytes_, word, word, word])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(hint, [pointer, word(0), word(3), word(1)])  # to read, keep it, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


# --- atomics: words shared between threads --------------------------------------------------------


@intrinsic
def load_acquire(typing_context, array, index):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = _element(context, builder, sig.args[0], args[0], args[1])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        return builder.load_atomic(word, "acquire", 8)

    return types.int64(array, types.int64), codegen


@intrinsic
def store_release(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = _element(context, builder, sig.args[0], args[0], args[1])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        builder.store_atomic(args[2], word, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


# --- arithmetic on 64-bit words -------------------------------------------------------------------


@intrinsic
def mul_wrap(typing_context, a, b):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.mul(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def add_wrap(typing_context, a, b):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.add(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def shift_right(typing_context, word, count):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.lshr(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def bit_length(typing_context, word):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        zeros = builder.ctlz(args[0], ir.IntType(1)(0))
        return builder.sub(ir.IntType(64)(64), zeros)

    return types.int64(types.int64), codegen


@intrinsic
def ticks(typing_context):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        word = ir.FunctionType(ir.IntType(64), [])
        if platform.machine().lower() in ("aarch64", "arm64"):
            read = ir.InlineAsm(word, "mrs $0, cntvct_el0", "=r", side_effect=True)
            return builder.call(read, [])
        name = "llvm.readcyclecounter"
        return builder.call(cgutils.get_or_insert_function(builder.module, word, name), [])

    return types.int64(), codegen


# --- checksums ------------------------------------------------------------------------------------


def crc_instruction() -> str | None:
    """The host's CRC-32C instruction as the compiler is set to use it: its family, or None."""
    enabled = config.CPU_FEATURES  # set by NUMBA_CPU_FEATURES, or by a generic NUMBA_CPU_NAME
    if enabled is None:
        enabled = llvmlite.binding.get_host_cpu_features().flatten()
    features = enabled.split(",")
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64") and "+sse4.2" in features:
        return "x86"
    if machine in ("aarch64", "arm64") and "+crc" in features:
        return "arm"
    return None


# family, bits of the data: the instruction, and how wide it takes the checksum
_CRC = {
    ("x86", 64): ("llvm.x86.sse42.crc32.64.64", 64, 64),
    ("x86", 8): ("llvm.x86.sse42.crc32.32.8", 32, 8),
    ("arm", 64): ("llvm.aarch64.crc32cx", 32, 64),
    ("arm", 8): ("llvm.aarch64.crc32cb", 32, 32),
}


def _crc_step(data_bits: int) -> Any:
    @intrinsic
    def step(typing_context, crc, data):  # type: ignore[no-untyped-def]
        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            name, crc_bits, taken_bits = _CRC[str(crc_instruction()), data_bits]
            wide = ir.IntType(64)
            kinds = [ir.IntType(crc_bits), ir.IntType(taken_bits)]
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kinds[0], kinds), name
            )
            given = [
                value if kind == wide else builder.trunc(value, kind)
                for value, kind in zip(args, kinds, strict=True)
            ]
            made = builder.call(function, given)
            return made if kinds[0] == wide else builder.zext(made, wide)

        return types.int64(types.int64, types.int64), codegen

    return step


crc_word = _crc_step(64)
crc_byte = _crc_step(8)
