"""A house for the stories: a real daemon as a real process, with a small run on a small corpus."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orchestrator.home.clock import SystemClock
from trainer.checkpoint import slots

#: the longest that anything may take on a busy machine
PATIENCE_SECONDS = 90.0

CLOCK = SystemClock()
#: the command as it is installed beside the interpreter that runs the tests
HOMERUN = [sys.executable, str(Path(sys.executable).with_name("homerun"))]

_WORDS = (
    "power price watt meter socket home night cheap dear train step loss batch token model "
    "weight matrix gradient save disk sync rename daemon hold pause resume finish plan slot"
).split()


def wait_for(
    what: str,
    condition: Callable[[], Any],
    seconds: float = PATIENCE_SECONDS,
    every_seconds: float = 0.02,
) -> Any:
    """The first true value of ``condition``; fails with ``what`` when it never comes."""
    deadline = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < deadline:
        value = condition()
        if value:
            return value
        CLOCK.sleep(every_seconds)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


def _word(number: int) -> str:
    """One of some thousand words, so that a small vocabulary finds enough to merge."""
    stem = _WORDS[number % len(_WORDS)]
    return stem + _WORDS[number // 7 % len(_WORDS)][:3] if number % 3 else stem


def _lines(options: dict[str, str]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in options.items())


def write_corpus(folder: Path, documents: int = 300) -> None:
    """A few hundred short texts, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(documents):
        picks = [_word(number * 7 + position * position * 3) for position in range(40)]
        lines.append(json.dumps({"text": f"Day {number}. " + " ".join(picks) + "."}))
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def spec_text(corpus: Path, *, name: str = "tiny", steps: int = 60, **overrides: str) -> str:
    """A run that a slow machine trains in seconds."""
    values = {
        "every_seconds": "0.3",
        "micro_batch": "2",
        "batch_tokens": "256",
        "writer": "auto",
        **overrides,
    }
    return f"""
name = "{name}"
sample_prompt = "Day 1"

[model]
depth = 1
vocab_size = 512
sequence_length = 32

[data]
corpus = "{corpus}"
allow_repeats = true
validation_permille = 100
tokenizer_characters = 200000

[train]
steps = {steps}
batch_tokens = {values["batch_tokens"]}
micro_batch = {values["micro_batch"]}
precision = "fp32"
eval_every_steps = 0
eval_tokens = 1024
threads = 1

[checkpoint]
every_seconds = {values["every_seconds"]}
writer = "{values["writer"]}"
"""


@dataclass
class House:
    """One state directory, one configuration, one daemon at a time."""

    root: Path
    engine: str = "local"
    daemon_options: dict[str, str] = field(default_factory=dict)
    engine_options: dict[str, str] = field(default_factory=dict)
    #: further tables of homerun.toml
    tables: str = ""
    #: where its system bus is; as it is, nowhere: no test's daemon delays this machine's own sleep
    system_bus: str = "unix:path=/nonexistent"
    #: further environment of everything that is started here
    variables: dict[str, str] = field(default_factory=dict)
    #: words before the daemon's command that end in an exec of it
    wrapper: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        write_corpus(self.root / "corpus")
        options = {
            "tick": '"100ms"',
            "backoff_first": '"0s"',
            "crash_loop_after": "1000",
            "drain_timeout": '"60s"',
            **self.daemon_options,
        }
        engine = _lines({"kind": f'"{self.engine}"', **self.engine_options})
        self.config.write_text(
            f'[daemon]\nstate_dir = "{self.state}"\n{_lines(options)}\n'
            f"[engine]\n{engine}\n[web]\nport = 0\n{self.tables}\n",
            encoding="utf-8",
        )

    @property
    def config(self) -> Path:
        return self.root / "homerun.toml"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def run_dir(self, run: str = "tiny") -> Path:
        return self.state / "runs" / run

    # --- the daemon -------------------------------------------------------------------------

    def start(self) -> House:
        """Start the daemon and wait until it answers."""
        self.launch()
        self.wait_up()
        return self

    def launch(self) -> subprocess.Popen[str]:
        """Start the daemon and do not wait."""
        log = (self.root / "daemon.out").open("a")
        self.process = subprocess.Popen(
            [*self.wrapper, *HOMERUN, "--config", str(self.config), "serve"],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )
        log.close()
        return self.process

    def wait_up(self) -> None:
        wait_for("the daemon to answer", self._is_up)

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended: {self.output()[-3000:]}")
        try:
            return self.address()["pid"] == self.process.pid and bool(self.status())
        except (OSError, KeyError, ValueError):
            return False

    def output(self) -> str:
        return (self.root / "daemon.out").read_text(encoding="utf-8")

    def terminate(self) -> int:
        """SIGTERM, and wait for the drain."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        """SIGKILL the daemon; nothing below it is touched."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def kill_all(self) -> None:
        """SIGKILL everything that runs here, as a power cut does."""
        self.kill()
        for process in self.leftovers():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.wait_gone()

    def forget_memory(self) -> None:
        """What a reboot does to the slots in shared memory."""
        for run_dir in (self.state / "runs").glob("*"):
            slots.discard(run_dir)

    def close(self) -> None:
        """End whatever is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in self.leftovers():
            process.kill()
        self.forget_memory()

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HOMERUN_")}
        return {
            **kept,
            **self.variables,
            "HOMERUN_CONFIG": str(self.config),
            "HOUSE": str(self.root),
            "DBUS_SYSTEM_BUS_ADDRESS": self.system_bus,
        }

    def leftovers(self) -> list[psutil.Process]:
        """Every living process that this house started, however it is called now.

        Ray's workers overwrite their environment when they rename themselves, so a process also
        counts when it has one of our files open or stands below one of ours.
        """
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and self._is_ours(process):
                    found[process.pid] = process
                    for child in process.children(recursive=True):
                        found[child.pid] = child
            except psutil.Error:
                continue
        return [process for process in found.values() if lives(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.status() == "zombie":
            return False
        if process.environ().get("HOUSE") == str(self.root):
            return True
        return any(str(self.root) in item.path for item in process.open_files())

    # --- its answers ------------------------------------------------------------------------

    def address(self) -> Any:
        return json.loads((self.state / "daemon.json").read_text(encoding="utf-8"))

    def get(self, path: str) -> Any:
        return self._call(urllib.request.Request(f"{self.address()['url']}{path}"))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call(
            urllib.request.Request(
                f"{self.address()['url']}{path}",
                data=json.dumps(body or {}).encode(),
                headers={"Content-Type": "application/json"},
                method="POST",
            )
        )

    @staticmethod
    def _call(request: urllib.request.Request) -> Any:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def status(self) -> Any:
        return self.get("/api/v1/status")

    def journal(self) -> list[Any]:
        entries: list[Any] = self.get("/api/v1/journal?limit=1000")
        return entries

    def journal_kinds(self) -> list[str]:
        return [entry["kind"] for entry in self.journal()]

    def run_record(self, name: str = "tiny") -> Any:
        return self.get(f"/api/v1/runs/{name}")

    # --- its commands -----------------------------------------------------------------------

    def homerun(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Type a command in another terminal."""
        return subprocess.run(
            [*HOMERUN, *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            check=False,
        )

    def submit(self, *, name: str = "tiny", steps: int = 60, **overrides: str) -> Path:
        path = self.root / f"{name}.toml"
        text = spec_text(self.root / "corpus", name=name, steps=steps, **overrides)
        path.write_text(text, encoding="utf-8")
        done = self.homerun("submit", str(path))
        assert done.returncode == 0, done.stderr
        return path

    # --- waiting ----------------------------------------------------------------------------

    def wait_status(self, what: str, condition: Callable[[Any], Any]) -> Any:
        """The first status for which ``condition`` holds."""

        def look() -> Any:
            status = self.status()
            return status if condition(status) else None

        return wait_for(what, look)

    def wait_step(self, step: int) -> Any:
        return self.wait_status(
            f"step {step}", lambda s: s["run"] and s["run"]["step"] >= step and trainer_pid(s)
        )

    def wait_finished(
        self, name: str = "tiny", seconds: float = PATIENCE_SECONDS, every_seconds: float = 0.2
    ) -> Any:
        def look() -> Any:
            record = self.run_record(name)
            run = record.get("run", record)
            return run if run["state"] == "finished" else None

        return wait_for(f"{name} to finish", look, seconds, every_seconds)

    def wait_gone(self, seconds: float = 10.0) -> None:
        wait_for("every process of ours to be gone", lambda: not self.leftovers(), seconds)


def lives(process: psutil.Process) -> bool:
    """Whether it still computes; one that ends while it is asked does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def trainer_pid(status: Any) -> int | None:
    """The pid of the trainer that runs now."""
    run = status["run"]
    pid: int | None = run["trainer_pid"] if run else None
    return pid


def digest(run_dir: Path, step: int) -> str:
    """SHA-256 of the weights and the optimizer state at ``step``."""
    folders = sorted((run_dir / "checkpoints").glob(f"gen-{step:08d}-*"))
    assert folders, f"no checkpoint at step {step} in {run_dir}"
    hashes = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folders[-1].glob("*.safetensors"))
    ]
    assert len(hashes) >= 2, f"weights and optimizer expected in {folders[-1]}"
    return "-".join(hashes)


def http_status(call: Callable[[], Any]) -> int:
    """The status of a call that is refused."""
    try:
        call()
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200
