"""Weighted sums of loss terms, the check of shapes and dtypes, and one check per batch that numbers are finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from configs import commands
from configs.errors import ConfigError, NonFiniteError
from probe.metrics.arrays import Kind, require_array

Term = tuple[float, Callable[[], Tensor]]

_FLOATS = {torch.float32, torch.bfloat16, torch.float16, torch.float64}
_INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
_USUAL: dict[Kind, set[torch.dtype]] = {
    "float": _FLOATS,
    "integer": _INTEGERS,
    "bool": {torch.bool},
    "number": {*_FLOATS, *_INTEGERS, torch.bool},
}


def weighted_sum(terms: Mapping[str, Term]) -> dict[str, Tensor]:
    """Evaluate and add the terms whose weight isn't zero; the others are never computed.

    Args:
        terms: name -> (weight, function of no arguments that returns a scalar).

    Returns:
        The unweighted value of each evaluated term under its name, and their weighted sum under `loss`.

    Raises:
        ConfigError: all weights are zero, or a term isn't a scalar tensor of floats.
    """
    values = {name: term() for name, (weight, term) in terms.items() if weight != 0}
    for name, value in values.items():
        require_tensor(value, (), "float", f"term {name}", fix="reduce the term to a scalar")
    if not values:
        raise ConfigError("all terms of the loss have weight 0", fix=f"set one of {', '.join(terms)} above 0")
    total = torch.stack([terms[name][0] * value for name, value in values.items()]).sum()
    return {**values, "loss": total}


def require_tensor(
    tensor: Tensor, shape: tuple[int | None, ...], kind: Kind, name: str, *, fix: str = "pass tensors of one batch"
) -> None:
    """Reject anything but a tensor of this shape and kind of dtype, without reading values: nothing synchronises.

    Args:
        tensor: what was given.
        shape: wanted extent per axis; None allows any.
        kind: wanted dtypes.
        name: what to call the tensor in the message.
        fix: what to do about a wrong shape.

    Raises:
        ConfigError: not a tensor, another dtype, another rank or other extents.
    """
    usual = isinstance(tensor, Tensor) and tensor.dtype in _USUAL[kind] and len(tensor.shape) == len(shape)
    if usual and all(wanted is None or wanted == extent for wanted, extent in zip(shape, tensor.shape, strict=True)):
        return  # as at every step; what is wrong deserves the long look
    require_array(tensor, shape, kind, name, fix=fix, of=Tensor, error=ConfigError)


def require_finite(tensors: Mapping[str, Tensor | None], where: str | None = None) -> None:
    """Reject NaN and infinite values, with one synchronisation for all tensors together.

    Sums are tested first, which reads each tensor once and copies nothing; only if one of them isn't finite the
    entries are looked at (a sum of finite numbers may overflow).

    Args:
        tensors: name -> tensor; none and integer tensors are passed over.
        where: the clips or file the batch came from, for the message.

    Raises:
        NonFiniteError: names the tensors and counts their bad entries.
    """
    floating = {name: t for name, t in tensors.items() if t is not None and t.is_floating_point() and t.numel()}
    if not floating:
        return
    wide = {name: t.detach().sum(dtype=torch.promote_types(t.dtype, torch.float32)) for name, t in floating.items()}
    if bool(torch.stack([total.double() for total in wide.values()]).isfinite().all()):
        return
    bad = {name: int((~t.detach().isfinite()).sum()) for name, t in floating.items()}
    bad = {name: count for name, count in bad.items() if count}
    if bad:
        raise NonFiniteError(
            "NaN or infinite values in a batch",
            expected="finite numbers",
            found=", ".join(f"{name}: {count} of {floating[name].numel()} entries" for name, count in bad.items()),
            where=where,
            fix=f"{commands.cache('verify')} if features are named, {commands.data('verify')} if targets are",
        )
