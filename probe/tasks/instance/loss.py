"""Pull together pixels of one instance and push apart pixels of different ones, across the queries of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from probe.net.loss_terms import require_tensor, weighted_sum
from probe.tasks.instance.config import InstanceLossConfig


def embeddings_at(embeddings: Tensor, pixels: Tensor, mask_size: tuple[int, int]) -> Tensor:
    """Read embeddings bilinearly at pixels of a larger mask and give them unit length again.

    Equal to enlarging all maps to the mask's size (`align_corners=False`), normalising and picking, at a small part of
    the cost: four cells per pixel are touched. Written as an index look-up rather than `grid_sample`, because pixels
    of one clip lie in several queries, and because its backward pass has a deterministic version on GPUs.

    Args:
        embeddings: (B, S, E, h, w) float.
        pixels: (B, N, 3) query, row and column in the mask, integer or real; pixel i has its centre at i + 0.5.
        mask_size: height and width of the mask.

    Returns:
        (B, N, E) unit vectors, float32.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_tensor(embeddings, (None, None, None, None, None), "float", "embeddings", fix="pass (B, S, E, h, w) maps")
    require_tensor(pixels, (len(embeddings), None, 3), "number", "sampled pixels", fix="pass query, row and column")
    b, s, e, h, w = embeddings.shape
    table = embeddings.permute(0, 1, 3, 4, 2).reshape(-1, e).float()
    query = pixels[..., 0].long()
    top, down = _neighbours(pixels[..., 1], h, mask_size[0])
    left, right = _neighbours(pixels[..., 2], w, mask_size[1])
    first = (torch.arange(b, device=query.device)[:, None] * s + query) * (h * w)
    total = table.new_zeros(*query.shape, e)
    for row, row_weight in (top, down):
        for column, column_weight in (left, right):
            weight = (row_weight * column_weight)[..., None]
            total = total + weight * table.index_select(0, (first + row * w + column).flatten()).view_as(total)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-12)


def _neighbours(pixel: Tensor, cells: int, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the two cells next to a pixel's centre along one axis, each with its weight; borders are repeated."""
    position = ((pixel.float() + 0.5) * (cells / size) - 0.5).clamp(0, cells - 1)
    low = position.floor().long()
    weight = position - low
    return (low, 1 - weight), ((low + 1).clamp(max=cells - 1), weight)


def pair_masks(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return which ordered pairs of sampled pixels share an instance and which don't.

    Args:
        ids: (B, N) integer instance ids, 0 = none.

    Returns:
        Two boolean tensors (B, N, N); pixels without an id and pairs of a sample with itself are in neither.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_tensor(ids, (None, None), "integer", "ids", fix="pass one row per clip")
    valid = ids > 0
    both = valid[:, :, None] & valid[:, None, :]
    same = ids[:, :, None] == ids[:, None, :]
    itself = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    return both & same & ~itself, both & ~same


def distances(vectors: Tensor) -> Tensor:
    """Return Euclidean distances (B, N, N) of vectors (B, N, E), exact for close pairs, gradient 0 at distance 0."""
    require_tensor(vectors, (None, None, None), "float", "vectors", fix="pass (B, N, E) vectors")
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def squared_distances(vectors: Tensor) -> Tensor:
    """Return squared distances (B, N, N) of unit vectors (B, N, E) as 2 - 2 cos: one matrix product, no square root."""
    require_tensor(vectors, (None, None, None), "float", "vectors", fix="pass (B, N, E) vectors")
    return (2 - 2 * vectors @ vectors.transpose(1, 2)).clamp(min=0)


def _require_pairs(values: Tensor, mask: Tensor) -> None:
    require_tensor(values, (None, None, None), "float", "values of pairs", fix="pass (B, N, N) values")
    require_tensor(mask, values.shape, "bool", "mask of pairs", fix="pass one flag per pair")


def batch_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked pairs of all clips together; 0 without any. Clips with more pairs count more."""
    _require_pairs(values, mask)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def clip_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over clips of the mean over each clip's masked pairs; clips without any don't count, 0 without any clip."""
    _require_pairs(values, mask)
    counts = mask.sum(dim=(1, 2))
    means = (values * mask).sum(dim=(1, 2)) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def instance_loss(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], mask_size: tuple[int, int], config: InstanceLossConfig
) -> dict[str, Tensor]:
    """Loss of an instance probe on pixels drawn beforehand, see `data.dataset.targets.sample_pixels`.

    `paper`: mean distance of same-instance pairs plus mean of max(0, margin - distance) of the others, over the pairs
    of the whole batch. `standard`: the same with squared distances and squared margin, whose gradient doesn't jump at
    distance 0 and needs one matrix product, and with a mean per clip.

    Args:
        outputs: `embeddings` (B, S, E, h, w) float.
        targets: `pixels` (B, N, 3) integer or float, query, row and column in the masks;
            `ids` (B, N) integer, 0 = ignored.
        mask_size: height and width of the masks.
        config: form, margin and weights.

    Returns:
        `pull` and `push` as far as their weight isn't 0, and `loss`. 0 where a batch has no pairs of a kind.

    Raises:
        ConfigError: shapes don't fit together, or a dtype is wrong.
    """
    pixels, ids = targets["pixels"], targets["ids"]
    vectors = embeddings_at(outputs["embeddings"], pixels, mask_size)
    require_tensor(ids, pixels.shape[:2], "integer", "ids of the sampled pixels", fix="pass one id per pixel")
    same, other = pair_masks(ids)
    paper = config.form == "paper"
    # Same distances, pairs and autocast-free arithmetic for both terms.
    with torch.autocast(vectors.device.type, enabled=False):
        apart = distances(vectors) if paper else squared_distances(vectors)
        margin, mean = (config.margin, batch_mean) if paper else (config.margin**2, clip_mean)
        return weighted_sum(
            {
                "pull": (config.pull, lambda: mean(apart, same)),
                "push": (config.push, lambda: mean((margin - apart).clamp(min=0), other)),
            }
        )
