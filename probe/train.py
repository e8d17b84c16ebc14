"""`python -m probe train`: from a configuration to finished runs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.console import get_logger, progress
from configs.paths import runs_path
from data.dataset import PreparedDataset
from fusion.gate import gated_widths
from probe import checkpoints, controls, results
from probe.config import finish
from probe.datamodule import ProbeData
from probe.evaluate import evaluate_members
from probe.fitting import fit, resolve_device, resolve_precision
from probe.gating import refuse_matched_gate
from probe.inputs import Inputs, inputs_identity, open_inputs, train_rates
from probe.matching import Match, build_match
from probe.member import Member, RunPlan, variants
from probe.module import Facts
from probe.scores import Scores
from probe.tasks import load_task
from probe.training_pass import ProbePass

log = get_logger("probe.train")


def train(config: Any) -> list[dict[str, Any]]:
    """Train and evaluate every run that a configuration asks for; finished ones are returned as they are.

    Args:
        config: of the dataclass `probe.config.run_schema(task)`.

    Returns:
        One result per run, in the order of arrays, depths and seeds, twins behind their originals.

    Raises:
        SpatialprobeError: whatever is wrong with store, dataset or configuration, before the first step.
    """
    task = load_task(config.task)
    config = finish(config)
    device = resolve_device(config.device)
    config.recipe.precision = resolve_precision(config.recipe.precision, device)
    inputs = open_inputs(config, task)
    config.dataset, config.model = inputs.dataset.name, inputs.store.source
    plans = variants(config, [inputs_identity(inputs, array) for array in inputs.arrays])
    done: dict[str, dict[str, Any]] = {}
    if not config.force:
        for plan in plans:
            found = results.find(config.root, plan.run_id)
            if found is not None:
                done[plan.run_id] = found
    pending = [plan for plan in plans if plan.run_id not in done]
    if done:
        log.info("%d of %d runs are finished already; force=true trains them again", len(done), len(plans))
    if pending:
        session = Session(config, inputs, device)
        for group in _by_progress(session, pending):
            done |= session.run(group)
    if config.mdl:
        from probe.mdl import measure

        for plan in plans:
            done[plan.run_id] = measure(config, plan, done[plan.run_id])
    return [done[plan.run_id] for plan in plans]


class Session:
    """What the runs of one command share: inputs, targets, schedule and device.

    Args:
        config: resolved configuration.
        inputs: open store and dataset.
        device: where to train.
        home: for a finished run on another dataset, the one it was trained on.
        trained: for a finished run, the clips it was trained on; default the inputs' own.
    """

    def __init__(
        self,
        config: Any,
        inputs: Inputs,
        device: torch.device,
        *,
        home: PreparedDataset | None = None,
        trained: list[str] | None = None,
    ) -> None:
        from probe.config import task_options
        from probe.schedule import Schedule

        self.config, self.inputs, self.device = config, inputs, device
        self.module_class = load_task(config.task).module()
        options = task_options(config)
        self.gt_size = inputs.gt_size()
        self.class_names = (home or inputs.dataset).class_names
        annotated = config.task == "tagging"
        self.rates = train_rates(home or inputs.dataset, trained or inputs.train) if annotated else ()
        self.schedule = Schedule(inputs.train, config.recipe, config.data_seed)
        train_wanted = inputs.wanted(inputs.train, config, frozen=False)
        held = list(dict.fromkeys([*inputs.select, *inputs.report]))
        self.train_targets = self.module_class.targets(inputs.dataset, options, train_wanted, evaluation=False)
        self.held_targets = self.module_class.targets(
            inputs.dataset, options, inputs.wanted(held, config, frozen=True), evaluation=True
        )
        self.matches: dict[str, Match | None] = {}

    def member(self, plan: RunPlan, folder: Path | None = None, run_id: str | None = None) -> Member:
        """Return a run, freshly initialised; under another id and in another folder if given."""
        array = self.inputs.arrays[plan.array]
        if array.name not in self.matches:
            self.matches[array.name] = build_match(self.config.match, self.inputs.store, array, self.inputs.train)
        match = self.matches[array.name]
        grid = match.grid if match is not None and match.grid else array.grid
        width = match.matrix.shape[1] if match is not None and match.matrix is not None else array.channels
        branches = gated_widths(array)
        refuse_matched_gate(branches, match is not None and match.matrix is not None, array)
        facts = Facts(width, grid, self.gt_size, self.class_names, self.rates, branches)
        own = run_id or plan.run_id
        folder = folder or folder_of(self.config.root, own)
        return Member(plan, own, folder, facts, self.schedule.total_steps, match)

    def run(self, plans: Sequence[RunPlan]) -> dict[str, dict[str, Any]]:
        """Train runs that are at the same round side by side, evaluate them and write their results."""
        members = [self.member(plan) for plan in plans]
        states = [self._state(member) for member in members]
        for member, state in zip(members, states, strict=True):
            if state is not None:
                member.restore(state)
            results.write_run(member, self.inputs)
        first = members[0].rounds_done
        arrays = [self.inputs.arrays[i] for i in sorted({plan.array for plan in plans})]
        data = self.data(arrays, any(plan.control for plan in plans))
        for member in members:  # arrays that no pending run reads aren't read
            member.place = arrays.index(self.inputs.arrays[member.plan.array])
        data.start_at(first)
        started = time.perf_counter()
        if first < self.schedule.rounds:
            with progress((self.schedule.total_steps), f"{self.config.task} x{len(members)}", "steps") as bar:
                bar.advance(self.schedule.first_step(first))
                after = _AfterRound(self, data, bar)
                fit(ProbePass(members, states, after, bar.advance), data, self.config, self.schedule.rounds - first)
        seconds = time.perf_counter() - started
        for member in members:
            member.load_best()
        found = {
            split: self.scores(members, data, clips, full=True)
            for split, clips in (("select", self.inputs.select), ("report", self.inputs.report))
        }
        return results.write_all(members, found, self, seconds)

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
        """Return the scores of members on the frozen views of some clips.

        Args:
            members: runs with the weights to score.
            data: their batches.
            clips: which clips; every draw of the plan counts.
            full: whether to compute the slow metrics too.
            among: the clips that give twins their targets; default `clips`.
        """
        donors = controls.donors(among or clips, self.config.data_seed) if data.donors is not None else None
        draws = len(self.inputs.plan.views[clips[0]])
        batches = data.evaluation(clips, self.held_targets, donors, draws)
        return evaluate_members(members, batches, self.device, full=full, precision=self.config.recipe.precision)

    def data(self, arrays: Sequence[Any], twins: bool) -> ProbeData:
        """Return the batches of some arrays, with targets for twins if asked."""
        donors = controls.donors(self.inputs.train, self.config.data_seed) if twins else None
        return ProbeData(self.inputs.store, arrays, self.schedule, self.train_targets, donors)

    def _state(self, member: Member) -> dict[str, Any] | None:
        path = member.folder / "last.ckpt"
        if self.config.force:
            for name in ("last.ckpt", "best.ckpt"):
                (member.folder / name).unlink(missing_ok=True)
            return None
        return checkpoints.load(path, member.run_id) if path.is_file() else None


class _AfterRound:
    """Looks at the selection split, keeps the best weights and writes the `last` checkpoints."""

    def __init__(self, session: Session, data: ProbeData, bar: Any) -> None:
        self.session, self.data, self.bar = session, data, bar

    def __call__(self, training: ProbePass) -> None:
        members = training.members
        round_ = members[0].rounds_done
        schedule = self.session.schedule
        due = (round_ + 1) % members[0].plan.config.recipe.select_every == 0 or round_ + 1 == schedule.rounds
        scores = self.session.evaluate_select(members, self.data) if due else [None] * len(members)
        for i, (member, found, rate) in enumerate(zip(members, scores, training.rates(), strict=True)):
            row: dict[str, Any] = {"round": round_, "step": schedule.first_step(round_ + 1), "lr": rate}
            row |= training.averages(i)
            if found is not None:
                keys = [*found.pooled, *dict.fromkeys(key for clip in found.per_clip for key in clip.values)]
                row |= {f"select/{key}": found.value(key) for key in keys}
                score = results.selection_score(found, member)
                if member.is_better(score):
                    member.save_best(round_, score)
                self.bar.note(f"{member.select} {score:.4g}")
            member.log.add(row)
            for logger in training.trainer.loggers:
                values = {f"{member.run_id}/{k}": v for k, v in row.items() if isinstance(v, (int, float))}
                logger.log_metrics(values, step=row["step"])
            member.rounds_done = round_ + 1
        training.save_last()


def _by_progress(session: Session, plans: Sequence[RunPlan]) -> list[list[RunPlan]]:
    """Group runs by how far they are: those in a group train side by side."""

    def rounds_done(plan: RunPlan) -> int:
        path = folder_of(session.config.root, plan.run_id) / "last.ckpt"
        if session.config.force or not path.is_file():
            return 0
        return int(checkpoints.load(path, plan.run_id)["rounds_done"])

    ordered = sorted(plans, key=rounds_done)
    return [list(group) for _, group in itertools.groupby(ordered, key=rounds_done)]


def folder_of(root: str | None, run_id: str) -> Path:
    """Return the folder of a run."""
    return runs_path(root) / run_id
