from __future__ import annotations

import sys
import time

import pytest

from core.errors import UsageError
from mainscripts import training_programs
from mainscripts.training_programs import Programs, ProgramSpec, parse_programs


@pytest.fixture
def said() -> list[str]:
    return []


def wait_for(programs: Programs, now: float, until) -> None:
    end = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end
        programs.poll(now)
        time.sleep(0.01)


def test_one_runs_once_and_one_again_and_again(said, tmp_path):
    mark = f"open({str(tmp_path / 'log')!r}, 'a').write"
    specs = parse_programs([["5", f"{mark}('once ')"], ["-10", f"{mark}('again '); print('läuft')"]])
    programs = Programs(specs, said.append, now=100.0)
    programs.poll(104.9)
    assert not (tmp_path / "log").exists()
    for now, text in ((105.0, "once "), (110.0, "once again "), (119.0, None), (125.0, "once again again ")):
        programs.poll(now)
        if text:
            wait_for(programs, now, lambda text=text: (tmp_path / "log").exists()
                     and (tmp_path / "log").read_text() == text)  # fmt: skip
    wait_for(programs, 125.0, lambda: len(said) == 2)
    programs.close()
    assert (tmp_path / "log").read_text() == "once again again "
    assert all("program 2" in line and "läuft" in line for line in said)


def test_a_failure_is_told_and_harms_nothing(said):
    programs = Programs(
        parse_programs([["1", "print('before')\nraise RuntimeError('no')"]]), said.append, now=0
    )
    wait_for(programs, 2, lambda: any("exit code 1" in line for line in said))
    assert "before" in said[0] and any("RuntimeError: no" in line for line in said)
    programs.poll(100)
    programs.close()


def test_one_that_outlasts_its_period_is_not_doubled_and_stopped_at_the_end(said, monkeypatch):
    monkeypatch.setattr(training_programs, "GRACE_SECONDS", 0.1)
    programs = Programs([ProgramSpec(-1, "import time\ntime.sleep(600)")], said.append, now=0)
    for now in range(1, 6):
        programs.poll(now)
    assert len(said) == 1 and "still runs" in said[0]
    started = time.monotonic()
    programs.close()
    assert time.monotonic() - started < 5 and "was stopped" in said[-1]


def test_a_python_that_cannot_be_started_is_told(said, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    programs = Programs([ProgramSpec(1, "pass")], said.append, now=0)
    programs.poll(2)
    assert "cannot be started" in said[0]
    programs.close()


@pytest.mark.parametrize(
    "seconds, code", [("x", "1"), ("0", "1"), ("nan", "1"), ("inf", "1"), ("5", " "), ("5", "1 +")]
)
def test_what_cannot_run_is_refused(seconds, code):
    with pytest.raises(UsageError, match="--execute-program"):
        parse_programs([[seconds, code]])
