"""What a request is made of: dataset, blocks, options."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from configs.errors import ConfigError, StaleError
from extract.job import extraction as job
from extract.job.request import chosen_blocks, resolve_request
from extract.model import load_model
from tests.extract.job.jobs import config


def test_a_request_is_plain_data_and_knows_its_dataset(
    root: Path, toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes get it as it is; none of them may read another dataset than the one that its fingerprint names."""
    request = resolve_request(config(root), "cpu")
    sent = pickle.loads(pickle.dumps(request))
    assert sent == request and sent.adapter().identity() == request.adapter().identity()
    request.store({})
    monkeypatch.setattr("data.dataset.reader.PreparedDataset.fingerprint", "prepared anew")
    with pytest.raises(StaleError, match="prepared again while"):
        job.run_process(sent, "cpu")


def test_chosen_blocks() -> None:
    model = load_model("wan-t2v-1.3b")
    assert chosen_blocks(["paper"], model, 30) == [19, 21]
    assert chosen_blocks(["paper"], model, 6) == [4]
    assert chosen_blocks(["even4"], model, 30) == [8, 15, 22, 30]
    assert chosen_blocks(["all"], model, 4) == [1, 2, 3, 4]
    assert chosen_blocks(["3", "1"], model, 30) == [1, 3]
    for wrong in ("31", "0", "middle", "even0"):
        with pytest.raises(ConfigError, match="no layer"):
            chosen_blocks([wrong], model, 30)
