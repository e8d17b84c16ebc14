"""What the losses refuse: wrong dtypes, wrong shapes, lists and NumPy arrays, in every tensor that they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.errors import ConfigError
from probe.net.loss_terms import weighted_sum
from probe.tasks.geometry.config import GeometryLossConfig
from probe.tasks.geometry.loss import dense_standard
from probe.tasks.instance.config import InstanceLossConfig
from probe.tasks.tagging.config import TaggingLossConfig
from probe.tasks.tagging.loss import asymmetric_paper
from tests.probe.public import LOSSES
from tests.probe.public import functions as public

B, S, H, W, N, C, E, STEPS = 2, 3, 4, 6, 5, 7, 8, 2
MAPS = (B, S, H, W)
FORMS = ("paper", "standard")


def flags(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape) % 3 > 0


def floats(*shape: int) -> Tensor:
    return torch.rand(shape) + 0.5


def maps(channels: int) -> dict[str, Any]:
    weights = {"weight": floats(*MAPS), "mask": flags(*MAPS).float()}
    return {"prediction": floats(*MAPS, channels), "target": floats(*MAPS, channels), **weights}


def pixels() -> Tensor:
    return torch.stack([torch.randint(high, (B, N)) for high in (S, 27, 36)], dim=-1)


def geometry(form: str) -> dict[str, Any]:
    outputs = {"depth": floats(*MAPS), "points": floats(*MAPS, 3), "pose_steps": floats(STEPS, B, S, 9)}
    targets = {"depth": floats(*MAPS), "points": floats(*MAPS, 3), "pose": floats(B, S, 9)}
    optional = {"confidence": floats(*MAPS), "mask": flags(*MAPS), "pose_valid": flags(B, S)}
    config = GeometryLossConfig(form=form, points_gradient=1.0, depth_gradient=1.0)
    return {"outputs": outputs, "targets": {**targets, **optional}, "config": config}


def instance(form: str) -> dict[str, Any]:
    targets = {"pixels": pixels(), "ids": torch.randint(0, 4, (B, N))}
    config = InstanceLossConfig(form=form)
    return {
        "outputs": {"embeddings": floats(B, S, E, H, W)},
        "targets": targets,
        "mask_size": (27, 36),
        "config": config,
    }


def tagging(form: str) -> dict[str, Any]:
    outputs, targets = {"logits": floats(B, C)}, {"labels": flags(B, C).float()}
    return {"outputs": outputs, "targets": targets, "config": TaggingLossConfig(form=form)}


torch.manual_seed(0)
GAMMAS = {"gamma_negative": 4.0, "gamma_positive": 1.0}
PAIRS = {"values": floats(B, N, N), "mask": flags(B, N, N)}
POSES = {"steps": floats(STEPS, B, S, 9), "target": floats(B, S, 9)}
CALLS: dict[str, tuple[dict[str, Any], ...]] = {
    "asymmetric_paper": ({"logits": floats(B, C), "labels": flags(B, C).float(), "clip": 0.0, **GAMMAS},),
    "asymmetric_standard": ({"logits": floats(B, C), "labels": flags(B, C).float(), **GAMMAS},),
    "tagging_loss": tuple(tagging(form) for form in FORMS),
    "camera_paper": (POSES,),
    "camera_standard": ({**POSES, "valid": flags(B, S), "delta": 0.1, "floor": 0.1},),
    "batch_mean": (PAIRS,),
    "clip_mean": (PAIRS,),
    "distances": ({"vectors": floats(B, N, E)},),
    "instance_loss": tuple(instance(form) for form in FORMS),
    "pair_masks": ({"ids": torch.randint(0, 4, (B, N))},),
    "squared_distances": ({"vectors": floats(B, N, E)},),
    "geometry_loss": tuple(geometry(form) for form in FORMS),
    "gradient_term": (maps(3),),
    "clip_scale": ({"points": floats(*MAPS, 3), "mask": flags(*MAPS).float()},),
    "dense_paper": (maps(1),),
    "dense_standard": ({**maps(1), "robust": "huber", "delta": 0.1},),
    "normalised": ({"points": floats(*MAPS, 3), "mask": flags(*MAPS).float()},),
    "require_maps": (maps(1),),
    "embeddings_at": ({"embeddings": floats(B, S, E, H, W), "pixels": pixels(), "mask_size": (27, 36)},),
}
"""Valid calls of each public function of the losses that takes tensors, every tensor given."""
WITHOUT_TENSORS = {"require_finite", "require_tensor", "weighted_sum"}
"""These take tensors of any kind, or terms; see test_combine.py and below."""
ALSO = {
    ("tagging_loss", "targets.labels"): ("bool", "uint8", "int64"),
    ("instance_loss", "targets.pixels"): ("bool", "float32", "float64"),
    ("embeddings_at", "pixels"): ("bool", "float32", "float64"),
}
"""Where more than one kind of dtype is right."""
NO_PARTNER = {"steps"}
"""Tensors whose first axis may have any extent."""
KINDS = {
    "bool": ("bool",),
    "integer": ("uint8", "int16", "int32", "int64"),
    "float": ("float16", "bfloat16", "float32", "float64"),
}


def functions() -> dict[str, Callable[..., Any]]:
    return public(*LOSSES)


def tensors_of(arguments: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a call by parameter, or by parameter.key."""
    found: dict[str, Tensor] = {}
    for name, value in arguments.items():
        inner = value if isinstance(value, dict) else {}
        found |= {f"{name}.{key}": tensor for key, tensor in inner.items()}
        if isinstance(value, Tensor):
            found[name] = value
    return found


def call(name: str, arguments: dict[str, Any], where: str, value: Any) -> Any:
    """Call a loss with another value in one place."""
    parameter, _, key = where.partition(".")
    changed = {**arguments[parameter], key: value} if key else value
    return functions()[name](**{**arguments, parameter: changed})


PLACES = [
    pytest.param(name, arguments, where, id=f"{name}-{number}-{where}")
    for name, calls in sorted(CALLS.items())
    for number, arguments in enumerate(calls)
    for where in tensors_of(arguments)
]


def kind_of(tensor: Tensor) -> str:
    return next(kind for kind, dtypes in KINDS.items() if str(tensor.dtype).removeprefix("torch.") in dtypes)


def test_every_public_function_and_every_tensor_has_a_case() -> None:
    assert set(functions()) == set(CALLS) | WITHOUT_TENSORS
    for name, calls in CALLS.items():
        for arguments in calls:
            assert set(inspect.signature(functions()[name]).parameters) == set(arguments), name


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_cases_are_valid(name: str) -> None:
    for arguments in CALLS[name]:
        functions()[name](**arguments)


@pytest.mark.parametrize(("name", "arguments", "where"), PLACES)
def test_wrong_dtypes_are_refused(name: str, arguments: dict[str, Any], where: str) -> None:
    right = tensors_of(arguments)[where]
    accepted = (*KINDS[kind_of(right)], *ALSO.get((name, where), ()))
    for dtype in ("bool", "uint8", "int64", "float32", "float64", "complex64"):
        if dtype not in accepted:
            with pytest.raises(ConfigError, match="Wrong dtype") as caught:
                call(name, arguments, where, right.to(getattr(torch, dtype)))
            assert dtype in str(caught.value.found)
            assert "fix:      pass values." in str(caught.value)


@pytest.mark.parametrize(("name", "arguments", "where"), PLACES)
def test_lists_and_arrays_are_refused(name: str, arguments: dict[str, Any], where: str) -> None:
    right = tensors_of(arguments)[where]
    for wrong, found in ((right.tolist(), "list"), (right.numpy(), "numpy.ndarray")):
        with pytest.raises(ConfigError, match=r"must be given as a tensor(.|\n)*torch\.as_tensor") as caught:
            call(name, arguments, where, wrong)
        assert caught.value.found == found


@pytest.mark.parametrize(("name", "arguments", "where"), PLACES)
def test_wrong_shapes_are_refused(name: str, arguments: dict[str, Any], where: str) -> None:
    right = tensors_of(arguments)[where]
    wrong = [right[..., None], right[None], right[0]]
    if len(tensors_of(arguments)) > 1 and where not in NO_PARTNER and not where.endswith("pose_steps"):
        wrong.append(right[:1])  # an axis of one would be broadcast
    for value in wrong:
        with pytest.raises(ConfigError, match="Wrong shape") as caught:
            call(name, arguments, where, value)
        assert caught.value.expected
        assert caught.value.found
        assert caught.value.fix


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float64"])
def test_labels_of_any_kind_give_the_same_tagging_loss(dtype: str) -> None:
    for arguments in CALLS["tagging_loss"]:
        labels = arguments["targets"]["labels"]
        found = call("tagging_loss", arguments, "targets.labels", labels.to(getattr(torch, dtype)))
        expected = functions()["tagging_loss"](**arguments)
        assert float(found["loss"]) == float(expected["loss"])


def test_integer_labels_would_truncate_the_published_exponents() -> None:
    labels = flags(B, C).long()
    with pytest.raises(ConfigError, match="labels"):
        asymmetric_paper(floats(B, C), labels, gamma_negative=0.5, gamma_positive=0.5, clip=0.0)


def test_weights_with_another_axis_would_be_broadcast() -> None:
    arguments = maps(1)
    with pytest.raises(ConfigError, match="weights"):
        dense_standard(**{**arguments, "weight": arguments["weight"][:, :, :1]}, robust="huber", delta=0.1)


@pytest.mark.parametrize("term", [torch.ones(2), torch.ones((), dtype=torch.long), 1.0, np.float64(1.0)])
def test_terms_are_scalar_tensors(term: Any) -> None:
    with pytest.raises(ConfigError, match="term odd"):
        weighted_sum({"odd": (1.0, lambda: term)})


def test_messages_name_what_was_expected_and_found() -> None:
    arguments = CALLS["geometry_loss"][0]
    with pytest.raises(ConfigError) as caught:
        call("geometry_loss", arguments, "targets.mask", flags(*MAPS).to(torch.uint8))
    assert str(caught.value).splitlines() == [
        "Wrong dtype of the mask",
        "  where:    mask",
        "  expected: (2, 3, 4, 6) bool",
        "  found:    (2, 3, 4, 6) uint8",
        "  fix:      pass values.bool(), or a comparison such as values > 0",
    ]
