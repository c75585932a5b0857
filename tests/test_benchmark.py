"""The benchmark's own machinery: turns, ratios and tables. What it measures is no test."""

import functools
import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from experiments.benchmarks import steps, table
from experiments.benchmarks.device_time import busy_seconds, device_seconds
from experiments.benchmarks.interleaved import Contender, Times, quartiles, time_interleaved
from tests import commands
from tests.taking_turns import fails, writes


def test_contenders_take_turns_and_one_that_cannot_be_made_is_left_out(tmp_path):
    made = {"a": functools.partial(writes, "a", tmp_path / "log"), "none": fails}
    made["b"] = functools.partial(writes, "b", tmp_path / "log")
    times = time_interleaved({name: Contender(make, 4) for name, make in made.items()}, rounds=5)
    assert (tmp_path / "log").read_text() == "ab" + 5 * "ab"  # each is called once before
    assert times["a"] == Times((0.5,) * 5, None)
    assert times["none"] == Times((), "ImportError: no such library")
    assert times["none"].milliseconds is times["a"].over(times["none"]) is None


def test_ratios_are_taken_within_a_round():
    """Where the machine becomes ten times slower meanwhile, the ratio stays."""
    mine, other = Times((2.0, 4.0, 30.0, 40.0, 6.0), None), Times((1.0, 2.0, 10.0, 20.0, 3.0), None)
    assert mine.over(other) == (2.0, 2.0, 2.0)
    np.testing.assert_allclose(mine.milliseconds, np.percentile([2e3, 4e3, 3e4, 4e4, 6e3], [25, 50, 75]))
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)


class Named(NamedTuple):
    """A plane or a line of a trace."""

    name: str
    lines: tuple[Any, ...] = ()
    events: tuple[Any, ...] = ()


class Event(NamedTuple):
    """In nanoseconds."""

    start_ns: float
    duration_ns: float


def test_a_device_is_at_work_in_the_union_of_its_own_events():
    """Two streams overlap for 10 ns; the line of modules and the host's plane say nothing of their own."""
    first = Named("Stream #13(Compute)", events=(Event(100, 50), Event(120, 10), Event(300, 20)))
    second = Named("Stream #14(MemcpyD2H)", events=(Event(140, 30),))
    modules = Named("XLA Modules", events=(Event(0, 1000),))
    host = Named("/host:CPU", lines=(Named("Stream of thought", events=(Event(0, 5000),)),))
    assert busy_seconds([host, Named("/device:GPU:0", lines=(first, modules, second))]) == pytest.approx(90e-9)
    operations = Named("/device:TPU:0", lines=(Named("XLA Ops", events=(Event(7, 5),)),))
    assert busy_seconds([operations, host]) == pytest.approx(5e-9)
    assert busy_seconds([host]) is None


def test_on_a_cpu_no_device_is_at_work():
    assert device_seconds(lambda: pytest.fail("nothing is to be called")) is None


@pytest.fixture
def group() -> table.Group:
    """A step of a tenth of the peak's operations, in a tenth of its time for the products, a fifth for ours."""
    times = {"products": 0.1, "ours": 0.2, "peak": 1.0}
    made = {name: Times((value,) * 5, None) for name, value in times.items()} | {"peer": Times((), "ImportError: no")}
    return table.Group("a step", made, ("products", "ours"), 10, (100, "peak"))


def test_the_fraction_of_the_peak(group):
    assert group.fraction_of_peak("products") == pytest.approx(1.0)
    assert group.fraction_of_peak("ours") == pytest.approx(0.5)
    assert group.fraction_of_peak("peer") is group.fraction_of_peak("peak") is None


def test_the_results_are_a_table_a_file_and_a_picture(group, tmp_path):
    table.write(tmp_path, [group], ["a remark"], rounds=5)
    text = (tmp_path / "benchmark.md").read_text()
    ours = "| ours | 200 (200 to 200) | 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) | 50% |"
    for line in (ours, "| peer | ImportError: no |  |  |  |", "- a remark"):
        assert line in text.splitlines()
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found["groups"][0]["seconds"]["ours"] == [0.2] * 5
    assert found["groups"][0]["failures"] == {"peer": "ImportError: no"}
    assert set(found["machine"]) == {"processor", "cores", "devices", "python", "versions", "threads"}
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_the_operations_of_a_step_by_hand():
    """784-2-3, two examples: encoder 784×2, 2×3, 2×3; decoder 3×2, 2×784; five samples each."""
    case = steps.Case((2,), 3, "tanh", 2, num_samples=5)
    encoder = 2 * 2 * (2 * 1568 + 3 * 12)  # the data need no gradient
    decoder = 2 * 10 * 3 * (6 + 1568)
    assert case.flops == encoder + decoder


def test_what_a_device_does_is_a_column_where_it_is_known(group):
    times = {name: of._replace(on_device=0.125) for name, of in group.times.items() if name == "ours"}
    text = table.to_markdown([group._replace(times=group.times | times)], [], rounds=5)
    assert "| | milliseconds | over products | over ours | of the peak | at work on the device |" in text.splitlines()
    assert "| ours | 200 (200 to 200) | 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) | 50% | 125.00 |" in text.splitlines()
    assert "at work" not in table.to_markdown([group], [], rounds=5)


def test_a_part_that_does_not_exist_is_refused():
    result = commands.run("benchmark", "--only=smal")
    assert result.returncode == 1
    assert "--only=smal is unknown; choose of small, plain" in result.stderr
