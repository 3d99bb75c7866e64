"""make bench-overhead: the same spec alone and under the daemon, interleaved.

Tokens/s are taken from the trainer's own step events over the second half of each run, when
nothing warms up any more, so that start-up costs do not blur the question: does being watched
slow the steps down?
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.machine import header, spread
from tests.story.house import House

SPEC = """
name = "bench"
[model]
depth = 3
vocab_size = 4096
sequence_length = 256
[data]
tokenizer_characters = 5000000
allow_repeats = true
[train]
steps = {steps}
batch_tokens = 8192
micro_batch = 16
precision = "fp32"
eval_every_steps = 0
eval_tokens = 8192
[checkpoint]
every_seconds = 20.0
"""


def alone(spec: Path, root: Path, data: Path) -> float:
    """Tokens/s of ``python -m trainer``."""
    root.mkdir(parents=True)
    (root / "data").symlink_to(data)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "trainer",
            str(spec),
            "--dir",
            str(root / "run"),
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    steps = [event for event in events if event["type"] == "Step"]
    return statistics.median(event["tokens_per_second"] for event in steps[len(steps) // 2 :])


def supervised(spec: Path, root: Path, data: Path, engine: str) -> float:
    """Tokens/s of the same spec under the daemon."""
    house = House(root / engine, engine=engine, daemon_options={"tick": '"1s"'})
    try:
        (house.state).mkdir(parents=True, exist_ok=True)
        (house.state / "data").symlink_to(data)
        house.start()
        done = house.homerun("submit", str(spec))
        assert done.returncode == 0, done.stderr
        # Looking costs the daemon a little, so look seldom.
        house.wait_finished("bench", seconds=900, every_seconds=3.0)
        samples = house.get("/api/v1/runs/bench/samples?limit=10000")
        speeds = [sample["tokens_per_second"] for sample in samples if sample["step"] > 0]
        return statistics.median(speeds[len(speeds) // 2 :])
    finally:
        house.close()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    print(header("make bench-overhead"))
    print("round      alone  local engine  ray engine   local/alone  ray/alone   (tokens/s)")
    local_ratios, ray_ratios = [], []
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        base = Path(folder)
        spec = base / "bench.toml"
        spec.write_text(SPEC.format(steps=arguments.steps), encoding="utf-8")
        data = base / "data"
        data.mkdir()
        alone(spec, base / "warm", data)
        for number in range(1, arguments.rounds + 1):
            root = base / f"round{number}"
            # Drifts of the machine hit both sides alike: alone before and after, then the mean.
            before = alone(spec, root / "before", data)
            ray = supervised(spec, root, data, "ray")
            between = alone(spec, root / "between", data)
            local = supervised(spec, root, data, "local")
            after = alone(spec, root / "after", data)
            ray_ratios.append(ray / ((before + between) / 2))
            local_ratios.append(local / ((between + after) / 2))
            print(
                f"{number:5}  {between:9.0f}  {local:12.0f}  {ray:10.0f}"
                f"  {local_ratios[-1]:12.4f}  {ray_ratios[-1]:9.4f}",
                flush=True,
            )
    print(f"local/alone: median {spread(local_ratios)}")
    print(f"ray/alone:   median {spread(ray_ratios)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
