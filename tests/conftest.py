"""What holds for every test: one thread, a random order, the list of slow ones, nothing left."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

# Workers and the programs that tests start share the cores, so each computes with one
# thread. Read when torch and numpy are imported, hence before everything else.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

# Workers and programs import the same modules hundreds of times: each is compiled once, also
# where the environment says that what was compiled is not kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import pytest
from xdist.remote import Producer

from shared.runtime.orphan_cleanup import cleaned_up_if_killed
from shared.runtime.processes import cores, end_marked, new_token, termination_as_interrupt
from tests.suite.ordering import UnitScheduling, order
from tests.suite.recording import CostRecorder
from tests.suite.slow import slow_list

#: Marks every process that a test starts, whoever starts it.
MARK = "OSTEOFED_TEST_SESSION"
LEFT = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--record-costs FILE``: what each test costs, for the list of slow ones."""
    parser.addoption("--record-costs", type=Path, help="add a line for each test to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Record costs if asked; see to it that no process outlives the run, also when killed."""
    config.option.loadscopereorder = False
    if (path := config.getoption("record_costs")) is not None:
        config.pluginmanager.register(CostRecorder(Path(config.invocation_params.dir) / path))
    if is_worker(config):
        return
    token = new_token()
    stack = config.stash[LEFT] = ExitStack()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="osteofed-tests-")))
    stack.enter_context(cleaned_up_if_killed(MARK, token, folder))  # itself without the mark
    stack.enter_context(termination_as_interrupt())
    os.environ[MARK] = token
    stack.callback(end_marked, MARK, token, 1.0)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what tests have started and not ended."""
    if (stack := config.stash.get(LEFT, None)) is not None:
        stack.close()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another that shares them out."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More workers than cores: some tests wait for programs that they have started.

    Those that wait for minutes are slow and begin together; two cores beside them would idle.
    """
    return cores() + (1 if "not slow" in config.option.markexpr else 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> UnitScheduling:
    """Whole files, and slow tests by themselves."""
    return UnitScheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark slow tests, before `-m "not slow"` is looked at."""
    if slow_list().is_slow(item.nodeid, list(getattr(item, "fixturenames", ()))):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put all tests in their order, after others have shuffled them."""
    order(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say the seed of the order, so that a failure can be looked at in the same one."""
    seed = terminalreporter.config.getoption("randomly_seed", default="none")
    terminalreporter.write_line(f"order: --randomly-seed={seed}")
