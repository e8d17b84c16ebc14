"""Which tests are skipped, and why; with `--strict-skips` a skip for any other reason fails the run.

Long and GPU tests are chosen by marker, those on real data by an environment variable.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

LONG = "long version: make test-full"
NO_CUDA = "needs a CUDA device"
MAYBE_CUDA = "needs a machine without GPU"
NO_REALDATA = "SPATIALPROBE_REALDATA is not set"
NO_LINUX = "needs Linux"
NO_BROWSER = "needs a browser: apt-get install chromium chromium-driver"
NO_SHELLS = "needs the shells that are completed in: apt-get install zsh fish"

ALLOWED = (LONG, NO_CUDA, MAYBE_CUDA, NO_REALDATA, NO_LINUX)
"""What a machine can't help: its hardware and system, recordings that aren't there, and the long versions."""

INSTALLABLE = {"browser": NO_BROWSER, "shells": NO_SHELLS}
"""What whoever runs the tests can install; `--could-not-install` allows their absence by these names."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption("--full", action="store_true", help="also run the long versions")
    parser.addoption("--strict-skips", action="store_true", help="fail if a test is skipped without a good reason")
    parser.addoption(
        "--could-not-install", action="append", default=[], choices=sorted(INSTALLABLE),
        help="with --strict-skips: what an installation was tried of and failed",
    )  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what the options, the machine or the environment rule out."""
    for item in items:
        if "full" in item.keywords and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason=LONG))
        if "gpu" in item.keywords and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason=NO_CUDA))
        if "realdata" in item.keywords and not os.environ.get("SPATIALPROBE_REALDATA"):
            item.add_marker(pytest.mark.skip(reason=NO_REALDATA))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if skips are left that nothing excuses."""
    if unexcused(session.config) and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the skips that nothing excuses."""
    found = unexcused(config)
    if found:
        terminalreporter.section("skips without a good reason", red=True, bold=True)
        for line in found:
            terminalreporter.line(line)
        terminalreporter.line("fix: install what is missing, or remove the test if nothing can ever run it")


def unexcused(config: pytest.Config) -> list[str]:
    """Return a line per skipped test or file whose reason isn't a good one; empty without `--strict-skips`."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if not config.getoption("--strict-skips") or reporter is None:
        return []
    excuses = {*ALLOWED, *(INSTALLABLE[name] for name in config.getoption("--could-not-install"))}
    skips = {
        (report.nodeid, report.longrepr[2].removeprefix("Skipped: ")) for report in reporter.stats.get("skipped", [])
        if not hasattr(report, "wasxfail")
    }  # fmt: skip
    return [f"{place}: {reason}" for place, reason in sorted(skips) if reason not in excuses]
