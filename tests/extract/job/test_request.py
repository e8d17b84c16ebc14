"""What a request is made of: dataset, blocks, options."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from configs.errors import ConfigError, StaleError
from data.dataset.reader import PreparedDataset
from extract.job import extraction as job
from extract.job.config import run_command
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


def test_a_prompt_names_the_classes_of_the_dataset(root: Path) -> None:
    """The fingerprint holds the text that the model reads; another text is another store."""
    tiny = {"model": "cogvideox-t2v-2b", "weights": "random", "size": "tiny", "grid": ["paper"]}
    dataset = PreparedDataset.open("toy", root)
    requests = [
        resolve_request(config(root, **tiny, prompt=text), "cpu") for text in ("", "A room.", "A room: {classes}.")
    ]
    texts = [request.fingerprint["adapter"]["prompt"] for request in requests]
    assert texts == ["", "A room.", f"A room: {', '.join(dataset.class_names)}."] and len(dataset.class_names) > 1
    assert len({request.path for request in requests}) == 3
    assert "prompt='A room.'" in run_command(requests[1].config)


@pytest.mark.parametrize(("preface", "lines"), [("", "successive frames"), ("Look.", "Look."), ("none", "")])
def test_a_preface_is_part_of_the_fingerprint(root: Path, preface: str, lines: str) -> None:
    tiny = {"model": "qwen3-vl-2b", "weights": "random", "size": "tiny", "grid": ["paper"]}
    adapter = resolve_request(config(root, **tiny, preface=preface), "cpu").fingerprint["adapter"]
    assert lines in adapter["prompt"]["preface"] and bool(lines) == bool(adapter["prompt"]["preface"])
    asked = resolve_request(config(root, **tiny, preface=preface, prompt="Where is it?"), "cpu").fingerprint["adapter"]
    assert asked["prompt"]["preface"] == "\n".join(filter(None, [adapter["prompt"]["preface"], "Where is it?"]))


def test_classes_of_a_dataset_without_any_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = PreparedDataset.open("toy", root)
    opened.class_names = ()
    monkeypatch.setattr(PreparedDataset, "open", lambda *args: opened)
    with pytest.raises(ConfigError, match="the dataset toy has no classes"):
        resolve_request(config(root, model="qwen3-vl-2b", size="tiny", prompt="{classes}"), "cpu")


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
