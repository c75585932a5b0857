"""What cannot be printed ends no command."""

import os
import subprocess
import sys

import pytest

from tests import commands

# What commands print: text that is not ASCII, more than a pipe holds, a table of rich and a bar of tqdm.
_PROGRAM = r"""
import sys
from experiments.command import streams
streams.secure()
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
for stream in (sys.stdout, sys.stderr):
    print("ELBO \u2212108.67", file=stream, flush=True)
    print("x" * 100_000, file=stream)
Console().print(Table("KL(q(z) \u2016 p(z))", title="\u00b1 one standard error"))
for _ in tqdm(range(3)):
    pass
sys.stderr.isatty(), sys.stderr.fileno()
sys.exit(7)
"""


def run(shell: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of bash, in which "$@" stands for the program."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell, "bash", sys.executable, "-c", _PROGRAM],
        cwd=commands.ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "redirected",
    [
        '"$@" | head -c 1',
        '"$@" 2>&1 >/dev/null | head -c 1',
        '"$@" >&-',
        '"$@" 2>&-',
        '"$@" <&- >&- 2>&-',
        '"$@" >/dev/full',
        '"$@" 2>/dev/full',
    ],
    ids=[
        "stdout_broken",
        "stderr_broken",
        "stdout_closed",
        "stderr_closed",
        "all_closed",
        "stdout_full",
        "stderr_full",
    ],
)
def test_a_stream_that_takes_nothing_changes_no_exit_status(redirected):
    result = run(redirected)
    assert result.returncode == 7
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    "locale",
    [{"LANG": "C", "PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "posix"],
)
def test_what_the_encoding_lacks_is_printed_as_question_marks(locale):
    result = run('"$@"', **locale)
    assert result.returncode == 7
    for text in (result.stdout, result.stderr):
        assert text.startswith(b"ELBO ?108.67\n")
    assert b"KL(q(z) ? p(z))" in result.stdout


def test_a_command_goes_on_where_nobody_reads_what_it_prints():
    result = run('"$1" -m experiments.train --help | true')
    assert (result.returncode, result.stderr) == (0, b"")
