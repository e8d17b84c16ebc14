"""The tables of a report and the meaning of their columns.

Conventions: numbers in stored units (fractions, not times 100); null = undefined, with a `reason` where there is one;
intervals are 95 % intervals over rooms and seeds; `cell` columns hold ids that table `cells` explains.
"""

from __future__ import annotations

from dataclasses import dataclass

from probe.report.columns import BINS, SCATTER_COLUMNS


@dataclass(frozen=True)
class TableSpec:
    """A table.

    Attributes:
        title: heading.
        about: what it says, in a sentence or two that a page shows above it.
        columns: column -> meaning.
    """

    title: str
    about: str
    columns: dict[str, str]


WHERE = {
    "setting": "id of the comparable setting, see table settings",
    "task": "name of the task",
    "source": "name of the feature source",
    "label": "name of the source for a reader",
}
"""Columns that most tables begin with."""


FACTS: dict[str, TableSpec] = {
    "settings": TableSpec(
        "Settings",
        "Runs are compared only within one setting: same task, dataset, clips, queries, probe and metrics.",
        {
            "setting": "id",
            "task": "task",
            "board": "id of the board: settings of different tasks that belong together in one main table",
            "dataset": "prepared dataset",
            "profile": "profile of the probes",
            "plan": "frozen queries of the evaluation",
            "variant": "standard or paper definition of the metrics",
            "split_scheme": "standard: select and report apart; paper: one validation set",
            "depth": "linear or depth of the trunk",
            "fraction": "share of the training clips learned from",
            "train_clips": "clips learned from",
            "select_clips": "clips on which layers are chosen",
            "report_clips": "clips on which numbers are reported",
            "report_rooms": "rooms of those; the unit of resampling",
            "runs": "finished runs",
            "sources": "feature sources",
            "main": "whether main tables show it: per task the setting with most sources",
            "differs": "settings of the runs that differ from the task's main setting, as text",
        },
    ),
    "sources": TableSpec(
        "Sources",
        "What was probed: one row per feature store.",
        {
            "source": "name",
            "store": "fingerprint of the store (first 12 digits)",
            "label": "name for a reader, different for every store",
            "kind": "vgm, vlm, encoder, fusion, control or unknown",
            "role": "model, untrained twin, pixels, position, oracle, partial oracle, fusion or control fusion",
            "untrained": "whether any part of it has random weights",
            "tiny": "whether it is a small twin, not the published architecture at full size",
            "base": "the model that an untrained twin is the twin of; itself for models; null for controls",
            "parts": "sources of a fusion, joined by +",
            "weights": "what the store says about its weights, as text; null if the store is gone",
            "same_features_as": "another source with the same fingerprint, so with the same features; else null",
        },
    ),
    "entries": TableSpec(
        "Layers probed",
        "One row per setting, source and stored array; seeds are averaged.",
        {
            "entry": "id",
            **WHERE,
            "kind": "as in sources",
            "role": "as in sources; `vision tower` or `VAE latent` for the input of a model's first block",
            "untrained": "random weights",
            "store": "fingerprint of the store (first 12 digits)",
            "array": "name of the stored array",
            "tap": "where in the model",
            "block": "blocks that had run, from 1",
            "blocks_total": "blocks of the network",
            "relative_depth": "block / blocks_total",
            "noise_level": "noise coefficient of diffusion features",
            "grid": "rows x columns as the probe saw them",
            "channels": "as the probe saw them",
            "parameters": "of the probe",
            "chosen": "best array of its source and role on the select split",
            "candidates": "arrays that the choice was made from",
            "paper_layer": "whether it is the layer of the published table",
            "select_value": "main metric on the select split, mean over seeds",
            "n_seeds": "seeds",
            "seeds": "seeds, joined by commas",
            "runs": "run ids, joined by commas",
        },
    ),
    "published": TableSpec(
        "Published figures",
        "Table 1 of the paper in stored units, without intervals because none are given.",
        {
            "source": "our name of the model",
            "name": "name in the paper",
            "kind": "vgm or vlm",
            "<metric>": "one column per metric of COLUMNS",
        },
    ),
    "costs": TableSpec(
        "Costs",
        "What features and probes take. Seconds are from the machines that did the work and compare only within one.",
        {
            "source": "name",
            "label": "name for a reader",
            "dataset": "prepared dataset",
            "store": "fingerprint (first 12 digits)",
            "array": "name of the stored array",
            "model_parameters": "of the backbone: as its name says, else those that the last extraction loaded",
            "model_parameters_from": "name, log or null",
            "bytes_per_clip": "of the array's values, uncompressed",
            "store_bytes": "files of the whole store; null for a fusion made on the fly",
            "clips": "in the store",
            "extract_seconds": "median seconds per clip of the last extraction: read, prepare, run and write",
            "extract_device": "where it ran",
            "probe_parameters": "largest probe on it",
            "probe_seconds": "mean seconds of a probe: of its pass, divided by the probes in the pass",
        },
    ),
    "runs": TableSpec(
        "Provenance",
        "The finished runs that the numbers are based on, and the command that repeats each.",
        {
            "run_id": "id; folder runs/<run id>",
            "setting": "id of the setting",
            "entry": "id of the entry; empty for twins on shuffled targets",
            **{key: value for key, value in WHERE.items() if key not in ("setting", "label")},
            "dataset": "prepared dataset",
            "dataset_parameters": "digest of how the dataset was prepared",
            "store": "fingerprint of the store, all 64 digits",
            "array": "name of the stored array",
            "seed": "of weights and dropout",
            "control": "`shuffled targets` or empty",
            "config": "digest of the resolved configuration (first 16 digits)",
            "profile": "profile",
            "plan": "queries",
            "variant": "metrics",
            "best_round": "round of the checkpoint",
            "device": "torch device",
            "versions": "libraries, as text",
            "finished_at": "time",
            "pictures": "files in runs/<run id>/pictures, separated by |",
            "points": "files in runs/<run id>/points, separated by |",
            "extract_command": "command that makes the features",
            "command": "command that repeats the run",
        },
    ),
    "cells": TableSpec(
        "Cells",
        "Where every number of this report lies in the Parquet tables, and what it was computed from.",
        {
            "cell": "id as used in the other tables",
            "table": "table: artifacts/report/tables/<table>.parquet",
            "row": "row in it, from 0",
            "column": "column with the number",
            "value": "the number",
            "runs": "run ids, joined by commas; `published` for figures of the paper",
        },
    ),
}


_ARRAY = {
    "entry": "id of the entry, see table entries",
    "array": "name of the stored array",
    "chosen": "whether its layer is the one picked on the select split",
}
_VALUE = {
    "cell": "id of the number",
    "value": "estimate for rooms like these, mean over seeds: the mean over rooms of room means, or, for metrics that "
    "rank clips, the value over infinitely many rooms; stored unit",
    "on_clips": "the metric's own definition on these clips, mean over seeds, as in results files",
    "low": "lower end of the 95 % interval of `value` over rooms, and over seeds where there are several",
    "high": "upper end",
    "n_clips": "clips with a value",
    "n_rooms": "rooms with a value",
    "n_seeds": "probe seeds averaged",
    "reason": "why there is no value or interval, or what the value leaves out; empty if neither",
}
_BIN = {"bin": "index of the bin, from 0", "bin_label": "what the bin holds"}

SCORES: dict[str, TableSpec] = {
    "scores": TableSpec(
        "All scores",
        "Every metric of every entry on the report split. All other tables of scores are made from this one.",
        {
            **WHERE,
            **_ARRAY,
            "role": "as in entries",
            "metric": "key of the metric",
            "title": "name of the metric",
            "better": "higher or lower",
            **_VALUE,
            "seed_low": "smallest value of a single seed",
            "seed_high": "largest value of a single seed",
            "n_undefined": "clips on which the metric is undefined for some seed",
            "chance_low": "lower end of the band of chance of this metric, against `on_clips`; null without one",
            "chance_high": "upper end",
            "beyond_chance": "above, within or below the band; null without one",
            "runs": "run ids, joined by commas",
        },
    ),
    "main": TableSpec(
        "Main table",
        "The published table's columns for the layer picked on the select split, ours beside the published figures.",
        {
            "board": "id of the board",
            "section": "Video generation models, Vision-language models, Other models, Fusions or Controls",
            "origin": "ours, published, difference (ours - published), average (of ours) or published average",
            "source": "name; null for averages",
            "store": "first digits of its store's fingerprint: a source may have several; null for averages",
            "label": "name for a reader; for averages with their number of models",
            "role": "as in sources",
            "untrained": "random weights: says nothing about the pretrained model",
            "layers": "chosen layer per task, as text",
            "n_models": "rows averaged; 1 otherwise",
            "note": "for differences: how the two protocols differ, if they do; else empty",
            "<metric>": "one column per metric of COLUMNS: value in stored unit",
            "<metric>.on_clips": "the metric's own definition on these clips, used in differences from the published",
            "<metric>.low": "lower end of its interval; null for published figures and differences from them",
            "<metric>.high": "upper end",
            "<metric>.n_clips": "clips",
            "<metric>.n_rooms": "rooms",
            "<metric>.n_seeds": "seeds",
            "<metric>.cell": "id of the cell, see table cells",
        },
    ),
    "controls": TableSpec(
        "Models beside their controls",
        "What a probe reaches without the model: each control on the same clips, with the paired difference.",
        {
            **WHERE,
            "control": "role of the control",
            "control_source": "its source",
            "control_label": "its name for a reader",
            "metric": "key",
            "better": "higher or lower",
            "value": "of the model",
            "control_value": "of the control",
            "difference": "model - control",
            "low": "lower end of the paired interval of the difference",
            "high": "upper end",
            "advantage": "the difference with its sign turned so that positive means that the model is better",
            "cell": "id of the difference",
            "value_cell": "id of the model's cell",
            "control_cell": "id of the control's cell",
        },
    ),
    "pairs": TableSpec(
        "Paired differences",
        "Two sources on the same clips, by the task's main metric, corrected for the number of comparisons.",
        {
            "setting": "id of the setting",
            "task": "task",
            "metric": "key of the main metric",
            "better": "higher or lower",
            "family": "kinds: the average vision-language against the average video generation model. models: each "
            "pair. ceiling: ground truth as features against each model. floor: each model against pixels and "
            "position. twins: each model against its untrained twin. origin: against its vision tower or VAE latent. "
            "fusion: each fusion against its parts. same width: each fusion of both kinds against fusions with as many "
            "channels and a part in common that lack one kind. `ceiling, average` and `floor, average`: the models "
            "together",
            "a": "entry of the first; for an average, an id that is in no other table",
            "b": "entry of the second",
            "a_source": "source of the first",
            "b_source": "source of the second",
            "a_label": "name of the first",
            "b_label": "name of the second",
            "a_value": "on the clips that both have",
            "b_value": "on the clips that both have",
            "difference": "a - b",
            "low": "lower end of the paired interval",
            "high": "upper end",
            "advantage": "positive where a is better",
            "effect": "advantage in standard deviations between rooms; null with fewer than three rooms",
            "rooms_better": "share of rooms in which a is better; null for pooled metrics",
            "p": "two-sided p value",
            "p_corrected": "corrected for the family: kinds by Holm over the tasks of a board, twins by the largest "
            "statistic over the board, others by Holm in their setting",
            "p_smallest": "smallest p value that this number of rooms allows",
            "comparisons": "members of the family",
            "n_clips": "clips",
            "n_rooms": "rooms",
            "n_seeds": "runs averaged in a and in b, as text",
            "test": "name of the test",
            "verdict": "a better, b better, not distinguishable, same features, no test, or exploratory: nothing is "
            "concluded from this family",
            "cell": "id of the difference",
        },
    ),
    "layers": TableSpec(
        "Layer curves",
        "Scores at relative depth (1 = after the last block) of every source with a block number.",
        {
            **WHERE,
            **_ARRAY,
            "tap": "where in the model",
            "block": "blocks that had run",
            "relative_depth": "0 to 1",
            "noise_level": "noise coefficient, null for none",
            "metric": "key",
            "better": "higher or lower",
            **_VALUE,
            "select_value": "the same metric on the select split",
        },
    ),
    "noise": TableSpec(
        "Noise curves",
        "Scores over the noise coefficient of diffusion features, for each block stored at two levels or more.",
        {
            **WHERE,
            **_ARRAY,
            "block": "blocks that had run",
            "noise_level": "noise coefficient",
            "metric": "key",
            "better": "higher or lower",
            **_VALUE,
            "select_value": "the same metric on the select split",
        },
    ),
    "curves": TableSpec(
        "Capacity and data",
        "The same features under probes of other depth, or learned from fewer clips.",
        {
            **WHERE,
            **_ARRAY,
            "curve": "id of what all points of a chart have in common",
            "axis": "depth or fraction",
            "held": "steps or epochs, whichever runs on a share of the clips have in common with those on all",
            "x": "trunk depth (-1 for linear) or share of the training clips",
            "x_label": "as text",
            "metric": "key",
            "better": "higher or lower",
            **_VALUE,
        },
    ),
    "scatter": TableSpec(
        "Semantics against geometry",
        "One point per source in ours, and per model in the published table.",
        {
            "board": "id of the board; empty for published points",
            "origin": "ours or published",
            "source": "name",
            "label": "name for a reader",
            "kind": "as in sources",
            "role": "as in sources",
            "untrained": "random weights",
            **{column.metric: f"{column.task}, {column.better} is better" for column in SCATTER_COLUMNS},
        },
    ),
    "radar": TableSpec(
        "Profile of each model",
        "Each metric on a scale from the floor (position only: 0) to the ceiling (ground truth as features: 1).",
        {
            "board": "id of the board",
            "source": "name",
            "label": "name for a reader",
            "role": "as in sources",
            "untrained": "random weights",
            "metric": "key, in the order of COLUMNS",
            "normalised": "(value - floor) / (ceiling - floor), not clipped; null without floor or ceiling",
            "low": "the ends of the interval on the same scale, floor and ceiling taken as known",
            "high": "upper end",
            "floor": "value of position only",
            "ceiling": "value of the oracle, or of the fusion of partial ones where it is missing",
            "cell": "id of the value",
            "reason": "why it is null",
        },
    ),
    "classes": TableSpec(
        "Average precision per class",
        "Of the chosen layer of each source; chance is the share of positives.",
        {
            **WHERE,
            "entry": "id",
            "class": "name of the class",
            "bucket": "head, mid or tail by positive rate in training",
            "positives": "clips of the report split that show it",
            "train_rate": "share of training clips that show it",
            "chance": "share of positives in the report split",
            **_VALUE,
        },
    ),
    **{bins.table: TableSpec(bins.title, bins.about, {**WHERE, "entry": "id", **_BIN, **_VALUE}) for _, bins in BINS},
    "selectivity": TableSpec(
        "Selectivity and code length",
        "How much better a probe is than one on labels that can only be remembered (control task) and than one on the "
        "targets of other clips (shuffled twin), and how far it compresses the labels.",
        {
            **WHERE,
            **_ARRAY,
            "metric": "key, `mdl.compression`, or `mdl.uniform_compression`",
            "against": "`control task`, `shuffled twin`, `class rates` or `uniform code`",
            "value": "positive: better on true labels; compression: code of class rates / online code; "
            "uniform_compression: uniform code / online code",
            "low": "95 % over rooms and draws of random labels; of control tasks, with one seed",
            "high": "the same",
            "reason": "why selectivity is not available",
            "cell": "id of the number",
            "n_seeds": "seeds averaged",
            "runs": "run ids, joined by commas",
        },
    ),
}


TABLES: dict[str, TableSpec] = {**SCORES, **FACTS}
"""Table -> specification. `<metric>` stands for one column per metric of `probe.report.columns.COLUMNS`."""
