"""How long the program takes to answer: help of main.py and of its subcommands, the check of the set-up.

python benchmarks/startup.py [runs]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import main


def seconds(command: list[str | Path], runs: int) -> list[float]:
    """Wall time of each of `runs` runs of a command, after one that is not counted."""
    times = []
    for number in range(runs + 1):
        begun = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if number:
            times.append(time.perf_counter() - begun)
    return times


def run(runs: int) -> None:
    """Print the table."""
    python, program = sys.executable, ROOT / "main.py"
    setup = ROOT / "_internal_batch" / "setup_env.py"
    table: dict[str, list[str | Path]] = {"main.py --help": [python, program, "--help"]}
    for name in main.COMMANDS:
        table[f"main.py {name} --help"] = [python, program, name, "--help"]
    table["check of the set-up"] = [python, "-I", "-S", setup, "check", "--venv", Path(sys.prefix)]
    print(f"{'':28}{'median':>9}{'slowest':>9}  ms, {runs} runs")
    for label, command in table.items():
        times = [1000 * t for t in seconds(command, runs)]
        print(f"{label:28}{statistics.median(times):9.0f}{max(times):9.0f}", flush=True)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
