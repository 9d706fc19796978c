"""Symbols in the place of torch's tensors.

Functions and methods of torch are numpy's functions under other names, with ``dim`` for
``axis``. This module is imported without torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Self

import autoray
import numpy as np

from qstore_pl.devices.symbols import SymbolError, Symbols


class Size(int):
    """The number of entries to numpy and PennyLane, and a method to torch.

    Args:
        shape: The shape of the array.
    """

    def __new__(cls, shape: tuple[int, ...]) -> Self:  # noqa: D102
        made = super().__new__(cls, math.prod(shape))
        made._shape = shape
        return made

    _shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> int | tuple[int, ...]:
        """The shape, or the length of one axis."""
        return self._shape if dim is None else self._shape[dim]


class TorchSymbols(Symbols):
    """An array of angles, which PennyLane and torch take for a tensor of numbers.

    Results of functions and methods are such symbols again.

    Args:
        angles: As :class:`Symbols`.

    Attributes:
        requires_grad: False: no gradient is computed while symbols are used.
    """

    requires_grad = False
    _type: Any = None

    def _like(self, entries: Any, kind: int | None = None) -> Self:
        made = super()._like(entries, kind)
        made._type = self._type
        return made

    def _of_type(self, dtype: Any) -> Self:
        """The same symbols, with another type of numbers as their attribute."""
        made = self._like(self._entries, self.kind)
        made._first, made._type = self._first, dtype
        return made

    @property
    def dtype(self) -> Any:
        """The type of the numbers, which are computed as float64 whatever it is."""
        import torch

        return torch.float64 if self._type is None else self._type

    @property
    def device(self) -> Any:
        """The CPU."""
        import torch

        return torch.device("cpu")

    @property
    def mT(self) -> Self:
        """The array with its last two axes exchanged."""
        return np.swapaxes(self, -1, -2)  # type: ignore[return-value]

    @property
    def size(self) -> Size:
        """The number of entries, which is a method as well."""
        return Size(self.shape)

    def astype(self, dtype: Any, **options: Any) -> Self:
        """The same symbols, as :meth:`Symbols.astype` and for PennyLane.

        Args:
            dtype: A type of real numbers, of numpy or of torch.
            options: Other arguments of numpy's method, which change nothing.

        Raises:
            SymbolError: If it is a type of integers or complex numbers.
        """
        import torch

        if isinstance(dtype, torch.dtype):
            return _converted(self, dtype)
        return super().astype(dtype, **options)

    @property
    def _is_number(self) -> bool:
        """False: a tensor changes in place."""
        return False

    def __getitem__(self, key: Any) -> Self:
        return super().__getitem__(_numbers(key))

    def _plain(self, value: Any, of: Callable[[Symbols], Any]) -> Any:
        return super()._plain(_numbers(value), of)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.__name__
        if name.startswith("__"):
            name = name.strip("_")
        return _called(name, *args, **(kwargs or {}))


autoray.register_backend(TorchSymbols, "numpy")


def _numbers(value: Any) -> Any:
    """An argument with arrays of numpy in the place of all tensors inside.

    Raises:
        SymbolError: If a tensor is to be differentiated, which its numbers are not.
    """
    import torch

    if isinstance(value, torch.Tensor):
        if value.requires_grad:
            raise SymbolError("a tensor that requires its gradient")
        return value.cpu().numpy()
    if isinstance(value, list | tuple):
        return type(value)([_numbers(part) for part in value])
    return value


def _called(name: str, *args: Any, **options: Any) -> Any:
    """What a function of torch gives.

    Raises:
        SymbolError: If symbols do not have it, or it needs their values.
    """
    if name == "setitem":
        raise SymbolError("an assignment to an entry (torch.stack joins symbols)")
    if name not in FUNCTIONS:
        raise SymbolError(f"torch.{name}")
    if options.pop("out", None) is not None:
        raise SymbolError(f"torch.{name} with a tensor for the result")
    dtype = options.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        raise SymbolError(f"torch.{name} with numbers of type {dtype}")
    given = _numbers(args)
    kept = {key: _numbers(value) for key, value in options.items()}
    if "axis" in kept:  # torch takes the name as well
        kept["dim"] = kept.pop("axis")
    try:
        return FUNCTIONS[name](*given, **kept)
    except SymbolError:
        raise
    except TypeError as error:  # other arguments, or symbols in the place of numbers
        raise SymbolError(f"torch.{name} with these arguments") from error


# --- functions by torch's names --------------------------------------------------


def _scaled(function: Any) -> Callable[..., Any]:
    """A sum or difference, whose second part may have a factor."""
    return lambda x, y, *, alpha=1: function(x, y if alpha == 1 else alpha * y)


def _divided(x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        raise SymbolError(f"torch.div with rounding_mode={rounding_mode!r}")
    return np.true_divide(x, y)


def _reduced(function: Any) -> Callable[..., Any]:
    """A function of the entries along some axes."""

    def reduced(x: Any, dim: Any = None, keepdim: Any = None, **_: Any) -> Any:
        axis = (tuple(dim) or None) if isinstance(dim, list | tuple) else dim
        return function(x, axis=axis, keepdims=bool(keepdim))

    return reduced


_sum = _reduced(np.sum)


def _norm(x: Any, p: Any = None, dim: Any = None, keepdim: Any = None, **_: Any) -> Any:
    if p not in (None, 2, "fro"):
        raise SymbolError(f"torch.norm with p={p!r}")
    return np.sqrt(_sum(np.square(x), dim, keepdim))


def _linalg_norm(
    x: Any, ord: Any = None, dim: Any = None, keepdim: Any = None, **_: Any
) -> Any:
    is_vector = isinstance(dim, int) or (dim is None and len(x.shape) == 1)
    if ord is not None and not (ord == 2 and is_vector):  # a norm of a matrix
        raise SymbolError(f"torch.linalg.norm with ord={ord!r}")
    return np.sqrt(_sum(np.square(x), dim, keepdim))


def _vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: Any = None, **_: Any
) -> Any:
    if ord != 2:
        raise SymbolError(f"torch.linalg.vector_norm with ord={ord!r}")
    return np.sqrt(_sum(np.square(x), dim, keepdim))


def _crossed(x: Any, y: Any, dim: int | None = None) -> Any:
    return np.cross(x, y, axis=x.shape.index(3) if dim is None else dim)


def _sizes(sizes: Any) -> Any:
    """Sizes or axes, which torch takes as a tuple or one by one."""
    return sizes[0] if len(sizes) == 1 and np.ndim(sizes[0]) else sizes


def _reshaped(x: Any, *sizes: Any, shape: Any = None) -> Any:
    return np.reshape(x, _sizes(sizes) if shape is None else shape)


def _viewed(x: Any, *sizes: Any) -> Any:
    if not all(isinstance(size, int | tuple | list | np.integer) for size in sizes):
        raise SymbolError("a view of another type")
    return _reshaped(x, *sizes)


def _flattened(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if not x.shape:
        return np.reshape(x, (1,))
    first, last = start_dim % len(x.shape), end_dim % len(x.shape)
    return np.reshape(x, (*x.shape[:first], -1, *x.shape[last + 1 :]))


def _unflattened(x: Any, dim: int, sizes: Any) -> Any:
    dim %= len(x.shape)
    return np.reshape(x, (*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def _squeezed(x: Any, dim: Any = None) -> Any:
    if dim is None:
        return np.squeeze(x)
    axes = dim if isinstance(dim, list | tuple) else (dim,)
    return np.squeeze(x, tuple(axis for axis in axes if x.shape[axis] == 1))


def _expanded(x: Any, *sizes: Any) -> Any:
    wanted = tuple(_sizes(sizes))
    own = (1,) * (len(wanted) - len(x.shape)) + x.shape
    shape = [n if size == -1 else size for size, n in zip(wanted, own, strict=True)]
    return np.broadcast_to(x, tuple(shape))


def _repeated(x: Any, *repeats: Any) -> Any:
    return np.tile(x, tuple(_sizes(repeats)))


def _flipped(x: Any, *axes: Any, dims: Any = None) -> Any:
    return np.flip(x, tuple(_sizes(axes) if dims is None else dims))


def _joined(function: Any) -> Callable[..., Any]:
    return lambda tensors, dim=0: function(list(tensors), axis=dim)


def _split(x: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    size, n = split_size_or_sections, x.shape[dim]
    if isinstance(size, int | np.integer):
        places = list(range(size, n, size))
    else:
        places = np.cumsum(size)[:-1].tolist()
    return tuple(np.split(x, places, axis=dim))


def _chunked(x: Any, chunks: int, dim: int = 0) -> Any:
    return _split(x, max(1, -(-x.shape[dim] // chunks)), dim)


def _tensor_split(x: Any, indices_or_sections: Any, dim: int = 0) -> Any:
    return tuple(np.array_split(x, indices_or_sections, axis=dim))


def _unbound(x: Any, dim: int = 0) -> Any:
    return tuple(np.moveaxis(x, dim, 0))


def _narrowed(x: Any, dim: int, start: Any, length: int) -> Any:
    return np.take(x, np.arange(length) + start, axis=dim)


def _einsum(equation: str, *operands: Any) -> Any:
    nested = len(operands) == 1 and isinstance(operands[0], list | tuple)
    return np.einsum(equation, *(operands[0] if nested else operands))


def _tensordot(a: Any, b: Any, dims: Any = 2, **_: Any) -> Any:
    return np.tensordot(a, b, axes=dims)


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    product = np.matmul(x, np.transpose(weight))
    return product if bias is None else product + bias


def _filled(x: Any, number: Any, dtype: Any = None, **_: Any) -> Any:
    """A tensor of torch with one number everywhere."""
    import torch

    return torch.full(x.shape, number, dtype=x.dtype if dtype is None else dtype)


def _kept(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _converted(x: Any, *given: Any, **options: Any) -> Any:
    """Symbols of another type, or the same ones for another device."""
    import torch

    values = [*given, *options.values()]
    dtypes = [value for value in values if isinstance(value, torch.dtype)]
    if not dtypes:
        return x
    if not dtypes[0].is_floating_point:
        raise SymbolError(f"a conversion to {dtypes[0]}")
    return x._of_type(dtypes[0])


def _as_type(name: str) -> Callable[[Any], Any]:
    def convert(x: Any) -> Any:
        import torch

        return _converted(x, getattr(torch, name))

    return convert


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise SymbolError(name)

    return refuse


_UFUNCS = {
    name: getattr(np, name)
    for name in (
        *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
        *("arcsinh", "arccosh", "arctanh", "exp", "exp2", "expm1", "log", "log1p"),
        *("log2", "log10", "sqrt", "square", "reciprocal", "absolute", "negative"),
        *("positive", "deg2rad", "rad2deg", "multiply", "float_power", "hypot"),
        *("arctan2", "matmul"),
    )
} | {
    other: getattr(np, name)
    for name, others in {
        "arcsin": "asin",
        "arccos": "acos",
        "arctan": "atan",
        "arcsinh": "asinh",
        "arccosh": "acosh",
        "arctanh": "atanh",
        "arctan2": "atan2",
        "absolute": "abs",
        "negative": "neg",
        "multiply": "mul",
        "power": "pow",
        "matmul": "mm mv bmm",
    }.items()
    for other in others.split()
}
_SAME = {
    name: getattr(np, name)
    for name in (
        *("dot", "vdot", "inner", "outer", "kron", "trace", "ravel", "swapaxes"),
        *("fliplr", "flipud", "broadcast_to", "atleast_1d", "atleast_2d"),
        *("atleast_3d", "hstack", "vstack", "dstack", "column_stack", "diag"),
        *("tril", "triu", "moveaxis", "where"),
    )
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_UFUNCS,
    **_SAME,
    "add": _scaled(np.add),
    "sub": _scaled(np.subtract),
    "subtract": _scaled(np.subtract),
    "rsub": lambda x, y, *, alpha=1: y - alpha * x,
    "div": _divided,
    "divide": _divided,
    "true_divide": _divided,
    "truediv": _divided,
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(0.5 * x),
    "special_expit": lambda x: 0.5 + 0.5 * np.tanh(0.5 * x),
    "rsqrt": lambda x: np.reciprocal(np.sqrt(x)),
    "real": _kept,
    "conj": _kept,
    "sum": _sum,
    "mean": _reduced(np.mean),
    "prod": _reduced(np.prod),
    "norm": _norm,
    "linalg_norm": _linalg_norm,
    "linalg_vector_norm": _vector_norm,
    "cumsum": lambda x, dim, **_: np.cumsum(x, axis=dim),
    "cumprod": lambda x, dim, **_: np.cumprod(x, axis=dim),
    "diff": lambda x, n=1, dim=-1: np.diff(x, n=n, axis=dim),
    "cross": _crossed,
    "linalg_cross": lambda x, y, dim=-1: np.cross(x, y, axis=dim),
    "einsum": _einsum,
    "tensordot": _tensordot,
    "linear": _linear,
    "ger": np.outer,
    "reshape": _reshaped,
    "view": _viewed,
    "view_as": lambda x, other: np.reshape(x, other.shape),
    "reshape_as": lambda x, other: np.reshape(x, other.shape),
    "flatten": _flattened,
    "unflatten": _unflattened,
    "squeeze": _squeezed,
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "transpose": lambda x, dim0, dim1: np.swapaxes(x, dim0, dim1),
    "swapdims": lambda x, dim0, dim1: np.swapaxes(x, dim0, dim1),
    "t": lambda x: np.transpose(x),
    "permute": lambda x, *dims: np.transpose(x, _sizes(dims)),
    "movedim": np.moveaxis,
    "flip": _flipped,
    "roll": lambda x, shifts, dims=None: np.roll(x, shifts, dims),
    "rot90": lambda x, k=1, dims=(0, 1): np.rot90(x, k, dims),
    "tile": _repeated,
    "repeat": _repeated,
    "repeat_interleave": lambda x, repeats, dim=None: np.repeat(x, repeats, dim),
    "expand": _expanded,
    "expand_as": lambda x, other: np.broadcast_to(x, other.shape),
    "broadcast_tensors": lambda *tensors: tuple(np.broadcast_arrays(*tensors)),
    "cat": _joined(np.concatenate),
    "concat": _joined(np.concatenate),
    "concatenate": _joined(np.concatenate),
    "stack": _joined(np.stack),
    "split": _split,
    "chunk": _chunked,
    "tensor_split": _tensor_split,
    "unbind": _unbound,
    "select": lambda x, dim, index: np.take(x, index, axis=dim),
    "narrow": _narrowed,
    "index_select": lambda x, dim, index: np.take(x, index, axis=dim),
    "take": lambda x, index: np.take(x, index),
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
    "zeros_like": lambda x, **options: _filled(x, 0.0, **options),
    "ones_like": lambda x, **options: _filled(x, 1.0, **options),
    "full_like": lambda x, fill_value, **options: _filled(x, fill_value, **options),
    "numel": lambda x: int(np.prod(x.shape, dtype=int)),
    "is_floating_point": lambda x: True,
    "is_complex": lambda x: False,
    "clone": _kept,
    "contiguous": _kept,
    "cpu": _kept,
    "to": _converted,
    "double": _as_type("float64"),
    "float": _as_type("float32"),
}
"""By the name of a function or method of torch, what it is with numpy."""

_FUNCTIONS_ONLY = {
    *("where", "einsum", "cat", "concat", "concatenate", "stack", "hstack", "vstack"),
    *("dstack", "column_stack", "broadcast_tensors", "tensordot", "linear", "rsub"),
    *("zeros_like", "ones_like", "full_like", "linalg_norm", "linalg_vector_norm"),
    *("linalg_cross", "special_expit", "real", "truediv"),
}


def _method(name: str) -> Callable[..., Any]:
    @functools.wraps(FUNCTIONS[name])
    def method(self: TorchSymbols, *args: Any, **options: Any) -> Any:
        return _called(name, self, *args, **options)

    return method


for _name in FUNCTIONS.keys() - _FUNCTIONS_ONLY:
    setattr(TorchSymbols, _name, _method(_name))
for _name in ("detach", "item", "tolist", "numpy"):
    setattr(TorchSymbols, _name, _refused(f"torch.Tensor.{_name}"))
TorchSymbols.dim = lambda self: len(self.shape)  # type: ignore[attr-defined]
TorchSymbols.nelement = TorchSymbols.numel  # type: ignore[attr-defined]
