"""What the runs of one command share while they train: inputs, targets, schedule and device."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from configs.console import Progress
from data.dataset.queries import freeze_plan
from data.dataset.reader import PreparedDataset
from probe.config import RunConfig
from probe.inputs.batches import ProbeData, SideBySide
from probe.inputs.inputs import Inputs, Layer, donors
from probe.metrics.scores import Scores
from probe.module import Facts, TargetOptions, load_module
from probe.net.gating import gated_widths
from probe.results.results import result_file
from probe.results.write import write_all, write_run
from probe.train.evaluate import evaluate_members
from probe.train.loop import Learner, Recorder, train_pass, training
from probe.train.member import Member
from probe.train.plan import BUFFERS, STATES, RunPlan
from probe.train.run_folder import folder_of, load_checkpoint
from probe.train.schedule import schedule_of


class Session:
    """What the runs of one command share: inputs, targets, schedule and device.

    Args:
        config: resolved configuration.
        inputs: open stores and dataset.
        device: where to train.
        home: for a finished run on another dataset, the one it was trained on.
    """

    def __init__(
        self,
        config: RunConfig,
        inputs: Inputs,
        device: torch.device,
        *,
        home: PreparedDataset | None = None,
    ) -> None:
        self.config, self.inputs, self.device = config, inputs, device
        self.module_class = load_module(config.task)
        options = config.probe
        self.gt_size = inputs.gt_size()
        learned_from = home or inputs.dataset
        self.class_names = learned_from.class_names
        # Of the whole split, whatever share of it a run sees: buckets of other classes would be other metrics.
        everyone = [
            c for c in learned_from.split("train", config.how.split_scheme) if learned_from.clips.at[c, "has_tags"]
        ]
        self.rates = self.module_class.rates(learned_from, everyone)
        self.schedule = schedule_of(config, inputs)
        held = list(dict.fromkeys([*inputs.select, *inputs.report]))
        queries = (config.how.sampler, config.probe.recipe.queries, config.how.data_seed, inputs.positions)
        drawn, frozen = TargetOptions(inputs.train, None, *queries), TargetOptions(held, inputs.plan, *queries)
        self.train_targets = self.module_class.targets(inputs.dataset, options, drawn, evaluation=False)
        self.held_targets = self.module_class.targets(inputs.dataset, options, frozen, evaluation=True)
        self._sizes: dict[tuple[object, ...], int] = {}

    def facts(self, plan: RunPlan) -> Facts:
        """Return what a run's probe must know of its features."""
        array = self.inputs.layers[plan.array].array
        return Facts(array.channels, array.grid, self.gt_size, self.class_names, self.rates, gated_widths(array))

    def member(self, plan: RunPlan, folder: Path | None = None, run_id: str | None = None) -> Member:
        """Return a run, freshly initialised; under another id and in another folder if given."""
        own = run_id or plan.run_id
        folder = folder or folder_of(self.config.where.root, own)
        return Member(plan, own, folder, self.facts(plan), self.schedule.total_steps)

    def size_of(self, plan: RunPlan) -> tuple[int, int]:
        """Return the bytes of a run's network with what training keeps of it, and of the batches of its array."""
        facts = self.facts(plan)
        key = (facts.channels, facts.grid, facts.branches, plan.depth)
        if key not in self._sizes:
            with torch.device("meta"):
                module = self.module_class(plan.config.probe, facts, self.schedule.total_steps)
            numbers = sum(int(p.numel() * p.element_size()) for p in module.probe.parameters())
            self._sizes[key] = STATES * numbers
        rows = self.schedule.batch * plan.config.probe.recipe.queries * BUFFERS
        return self._sizes[key], int(self.inputs.layers[plan.array].array.row_bytes * rows)

    def run(self, plans: Sequence[RunPlan], bar: Progress) -> dict[str, dict[str, Any]]:
        """Train runs that are at the same round side by side, evaluate them and write their results.

        Args:
            plans: the runs.
            bar: counts the updates of all of them.
        """
        members = [self.member(plan) for plan in plans]
        states = [self._state(member) for member in members]
        for member, state in zip(members, states, strict=True):
            if state is not None:
                member.restore(state)
            write_run(member, self.inputs)
        first = members[0].rounds_done
        data = self.data_of(members)
        started = time.perf_counter()
        bar.skip(self.schedule.first_step(first) * len(members))
        if first < self.schedule.rounds:
            with training(self.config, self.device) as fabric:
                learners = [
                    Learner(member, state, fabric.device) for member, state in zip(members, states, strict=True)
                ]
                record = Recorder(fabric, self.schedule, lambda: self.evaluate_select(members, data), bar.note)
                rounds = range(first, self.schedule.rounds)
                train_pass(fabric, learners, data, rounds, record, lambda: bar.advance(len(members)))
        seconds = time.perf_counter() - started
        for member in members:
            member.load_best()
        return self.finish(members, data, seconds)

    def finish(
        self,
        members: Sequence[Member],
        data: ProbeData,
        seconds: float,
        facts: Mapping[str, Any] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Score runs on both held-out splits and write their results, with more `facts` if given."""
        found = {
            split: self.scores(members, data, clips, full=True)
            for split, clips in (("select", self.inputs.select), ("report", self.inputs.report))
        }
        return write_all(
            members,
            found,
            config=self.config,
            inputs=self.inputs,
            schedule=self.schedule,
            device=self.device,
            seconds=seconds,
            facts=facts or {},
        )

    def data_of(self, members: Sequence[Member]) -> ProbeData:
        """Return the batches that some runs need; layers that none of them reads aren't read."""
        numbers = sorted({member.plan.array for member in members})
        for member in members:
            member.place = numbers.index(member.plan.array)
        layers = [self.inputs.layers[number] for number in numbers]
        return self.data(layers, any(member.plan.control for member in members))

    def evaluate_select(self, members: Sequence[Member], data: ProbeData) -> list[Scores]:
        """Return the scores on the selection split; the slow metrics only if one of them picks checkpoints."""
        cheap = self.module_class.cheap_metrics
        full = any(member.select not in cheap and not member.select.startswith("loss") for member in members)
        return self.scores(members, data, self.inputs.select, full=full)

    def scores(
        self,
        members: Sequence[Member],
        data: ProbeData,
        clips: Sequence[str],
        *,
        full: bool,
        among: Sequence[str] | None = None,
    ) -> list[Scores]:
        """Return the scores of members on the frozen queries of some clips.

        Args:
            members: runs with the weights to score.
            data: their batches.
            clips: which clips; every draw of the plan counts.
            full: whether to compute the slow metrics too.
            among: the clips that give twins their targets; default `clips`.
        """
        freeze_plan(self.inputs.dataset, self.inputs.plan)
        given = donors(among or clips, self.config.how.data_seed) if data.donors is not None else None
        draws = len(self.inputs.plan.queries[clips[0]])
        batches = data.evaluation(clips, self.held_targets, given, draws)
        return evaluate_members(members, batches, self.device, full=full, precision=self.config.probe.recipe.precision)

    def data(self, layers: Sequence[Layer], twins: bool) -> ProbeData:
        """Return the batches of some layers, with targets for twins if asked."""
        given = donors(self.inputs.train, self.config.how.data_seed) if twins else None
        source = SideBySide(layers)
        return ProbeData(source, list(source.arrays.values()), self.schedule, self.train_targets, given)

    def _state(self, member: Member) -> dict[str, Any] | None:
        if self.config.where.force:
            # The result goes first: weights that are still learning must never pass for those of a finished run.
            result_file(self.config.where.root, member.run_id).unlink(missing_ok=True)
            for name in ("last.ckpt", "best.ckpt"):
                (member.folder / name).unlink(missing_ok=True)
            if (member.folder / "evaluations").exists():
                shutil.rmtree(member.folder / "evaluations")
            return None
        path = member.folder / "last.ckpt"
        if not path.is_file():
            return None
        state = load_checkpoint(path, member.run_id)
        # The best weights may be a round ahead: they are kept first.
        best = load_checkpoint(member.folder / "best.ckpt", member.run_id) if state["best"] else {}
        return state | {"best": {key: best[key] for key in state["best"]}}
