from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from configs.errors import ConfigError, MissingError, NonFiniteError
from probe.tasks.tagging.config import TaggerConfig
from probe.tasks.tagging.head import TaggingHead, load_class_embeddings
from tests.probe.gradients import gradient

SMALL = TaggerConfig(width=16, layers=2, heads=2, dropout=0.1)


def test_equals_a_decoder_written_out() -> None:
    head = TaggingHead(24, 5, SMALL).eval()
    patches = torch.randn(2, 7, 24)
    memory, x = head.in_proj(patches), head.queries.expand(2, -1, -1)

    def attend(layer: torch.nn.MultiheadAttention, q: torch.Tensor, kv: torch.Tensor) -> torch.Tensor:
        wq, wk, wv = layer.in_proj_weight.chunk(3)
        bq, bk, bv = layer.in_proj_bias.chunk(3)
        parts = [F.linear(q, wq, bq), F.linear(kv, wk, bk), F.linear(kv, wv, bv)]
        q, k, v = (part.view(*part.shape[:-1], 2, 8).transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
        found: torch.Tensor = layer.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return found

    layers: Any = head.layers
    for layer in layers:
        normed = layer.norm1(x)
        x = x + attend(layer.self_attn, normed, normed)
        x = x + attend(layer.multihead_attn, layer.norm2(x), memory)
        x = x + layer.linear2(F.gelu(layer.linear1(layer.norm3(x))))
    scores = [F.linear(x[:, n], head.classifier.weight[n : n + 1], head.classifier.bias[n : n + 1]) for n in range(5)]
    torch.testing.assert_close(head(patches), torch.cat(scores, dim=1), atol=1e-5, rtol=1e-5)


def test_dropout_spares_the_attention_residuals() -> None:
    head = TaggingHead(24, 5, SMALL)
    layers: Any = head.layers
    for layer in layers:
        assert (layer.dropout1.p, layer.dropout2.p) == (0.0, 0.0)
        assert (layer.self_attn.dropout, layer.multihead_attn.dropout, layer.dropout.p, layer.dropout3.p) == (0.1,) * 4


def test_order_of_patches_does_not_matter() -> None:
    head = TaggingHead(24, 5, SMALL).eval()
    patches = torch.randn(1, 9, 24)
    torch.testing.assert_close(head(patches), head(patches[:, torch.randperm(9)]), atol=1e-5, rtol=1e-5)


def test_no_projection_when_widths_agree() -> None:
    head = TaggingHead(16, 5, SMALL)
    assert not list(head.in_proj.parameters())


def test_class_embeddings_are_fixed_and_saved() -> None:
    rows = torch.randn(5, 12)
    head = TaggingHead(24, 5, dataclasses.replace(SMALL, class_queries="embeddings"), rows)
    assert "class_embeddings" in head.state_dict()
    assert "class_embeddings" not in dict(head.named_parameters())
    torch.autograd.backward(head(torch.randn(2, 7, 24)).sum())
    assert gradient(head.query_proj.weight).abs().sum() > 0


def test_embeddings_are_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"class_embeddings=FILE"):
        TaggingHead(24, 5, dataclasses.replace(SMALL, class_queries="embeddings"))


def test_files_of_class_embeddings(tmp_path: Path) -> None:
    rows = torch.randn(4, 6)
    np.save(tmp_path / "rows.npy", rows.double().numpy())
    save_file({"text": rows.half()}, tmp_path / "rows.safetensors")
    torch.testing.assert_close(load_class_embeddings(tmp_path / "rows.npy", 4), rows)
    torch.testing.assert_close(load_class_embeddings(tmp_path / "rows.safetensors", 4), rows.half().float())


def test_bad_files_of_class_embeddings(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        load_class_embeddings(tmp_path / "none.npy", 4)
    np.save(tmp_path / "rows.npy", np.ones((3, 6)))
    with pytest.raises(ConfigError, match="one row per class"):
        load_class_embeddings(tmp_path / "rows.npy", 4)
    np.save(tmp_path / "nan.npy", np.full((4, 6), np.nan))
    with pytest.raises(NonFiniteError):
        load_class_embeddings(tmp_path / "nan.npy", 4)
    np.save(tmp_path / "text.npy", np.array(["a", "b"], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="readable"):
        load_class_embeddings(tmp_path / "text.npy", 4)
    save_file({"a": torch.ones(4, 6), "b": torch.ones(4, 6)}, tmp_path / "two.safetensors")
    with pytest.raises(ConfigError, match="one tensor"):
        load_class_embeddings(tmp_path / "two.safetensors", 4)
    (tmp_path / "rows.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="readable"):
        load_class_embeddings(tmp_path / "rows.safetensors", 4)
    (tmp_path / "rows.csv").write_text("1")
    with pytest.raises(ConfigError, match="kind"):
        load_class_embeddings(tmp_path / "rows.csv", 4)


def test_refuses_to_ignore_the_features() -> None:
    blind = dataclasses.replace(SMALL, layers=0)
    with pytest.raises(ConfigError, match="never looks at the features"):
        TaggingHead(24, 5, blind)
    logits = TaggingHead(24, 5, dataclasses.replace(blind, evidence="max"))(torch.randn(2, 7, 24))
    assert not torch.allclose(logits[0], logits[1])


def test_refuses_to_ignore_class_embeddings() -> None:
    with pytest.raises(ConfigError, match=r"head\.class_queries=embeddings"):
        TaggingHead(24, 5, dataclasses.replace(SMALL, class_embeddings="names.npy"))
    with pytest.raises(ConfigError, match=r"head\.class_queries=embeddings"):
        TaggingHead(24, 5, SMALL, torch.randn(5, 7))
