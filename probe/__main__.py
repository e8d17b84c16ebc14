"""`spatialprobe probe train|sweep|scout|curve|import|evaluate|predict|runs|compare|power|controls|report`: probes."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # files of the working directory don't take the place of the project's
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from collections.abc import Mapping

from configs.cli import Verb, main
from configs.commands import STAGES
from probe.config import (
    ControlsConfig,
    CurveConfig,
    EvaluateConfig,
    ImportConfig,
    PredictConfig,
    RunConfig,
    RunsConfig,
    SweepConfig,
    curve_layers,
    import_layers,
    sweep_layers,
    train_layers,
)
from probe.report.config import CompareConfig, PowerConfig, ReportConfig
from probe.report.freshness import fresh_page, inputs_of
from probe.results.runs import print_results, print_runs, print_summary
from probe.studies.scout.config import ScoutConfig
from probe.studies.sweep_table import outcome_of, print_outcome
from probe.task import task_names
from probe.train.plan import finished, plan_runs, plan_sweep, something_left


def _train(config: RunConfig) -> int:
    planned = plan_runs(config)
    done = finished(planned)
    if something_left(planned, done):
        from probe.train.train import train_rest

        print_results(train_rest(planned, done), config.where.root)
    else:
        print_results([done[plan.run_id] for plan in planned.plans], config.where.root)
    return 0


def _sweep(config: SweepConfig) -> int:
    planned = plan_sweep(config)
    done = finished(planned)
    failed: Mapping[str, str] = {}
    if something_left(planned, done):
        from probe.studies.sweep import train_sweep

        failed = train_sweep(config, planned, done)
    return print_outcome(outcome_of(planned, failed), config.runs.where.root)


def _scout(config: ScoutConfig) -> int:
    from probe.studies.scout.scout import scout
    from probe.studies.scout.table import print_scouting

    return print_scouting(scout(config), config)


def _curve(config: CurveConfig) -> int:
    from probe.studies.curve import plan_curve, print_curve

    parts = plan_curve(config)
    failed: dict[str, str] = {}
    for planned in parts:
        done = finished(planned)
        if something_left(planned, done):
            from probe.studies.sweep import train_sweep

            failed |= train_sweep(config.sweep, planned, done)
    return print_curve(config, parts, failed)


def _import(config: ImportConfig) -> int:
    from probe.results.imports import import_checkpoint

    print_results([import_checkpoint(config)], config.run.where.root)
    return 0


def _evaluate(config: EvaluateConfig) -> int:
    from probe.results.apply import evaluate

    print_summary(evaluate(config))
    return 0


def _predict(config: PredictConfig) -> int:
    from probe.results.apply import predict

    print(predict(config))
    return 0


def _runs(config: RunsConfig) -> int:
    print_runs(config)
    return 0


def _controls(config: ControlsConfig) -> int:
    from probe.studies.pair import controls

    return controls(config)


def _compare(config: CompareConfig) -> int:
    from probe.studies.compare import compare, print_comparison

    print_comparison(compare(config))
    return 0


def _power(config: PowerConfig) -> int:
    from probe.studies.power import plan_power

    return plan_power(config)


def _report(config: ReportConfig) -> int:
    inputs = inputs_of(config)
    page = fresh_page(config, inputs)
    if page is None:
        from probe.report.write import write_report

        page = write_report(config, inputs)
    print(page)
    return 0


TASK = {"task": task_names}

VERBS = (
    Verb(
        "train", "Train and evaluate probes on one store or several.", train_layers, _train, writes=True, selects=TASK
    ),
    Verb(
        "sweep",
        "Train probes on all layers and noise levels; print the curves.",
        sweep_layers,
        _sweep,
        writes=True,
        selects=TASK,
    ),
    Verb("scout", "Rank arrays by closed-form regression: which deserve a probe.", ScoutConfig, _scout, selects=TASK),
    Verb(
        "curve",
        "Train probes along capacity, data or width; print scores with intervals.",
        curve_layers,
        _curve,
        writes=True,
        selects=TASK,
    ),
    Verb(
        "import",
        "Import a published probe checkpoint as a finished run.",
        import_layers,
        _import,
        writes=True,
        selects=TASK,
    ),
    Verb("evaluate", "Score a run on other clips, queries or metrics.", EvaluateConfig, _evaluate, writes=True),
    Verb("predict", "Write a finished run's predictions and pictures.", PredictConfig, _predict, writes=True),
    Verb("runs", "List finished or interrupted runs.", RunsConfig, _runs),
    Verb("compare", "Test two runs against each other on the same clips.", CompareConfig, _compare, words=("a", "b")),
    Verb("power", "Say how many rooms, clips and seeds a difference needs.", PowerConfig, _power, selects=TASK),
    Verb("controls", "Make the controls for the gain of a pair's fusion.", ControlsConfig, _controls, writes=True),
    Verb("report", "Make tables and page from all finished runs.", ReportConfig, _report, writes=True),
)

if __name__ == "__main__":
    sys.exit(main("probe", STAGES["probe"], VERBS))
