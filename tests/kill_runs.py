"""Kill trainings at random moments, resume them, and compare the last bit of what they end with.

    python tests/kill_runs.py            # 20 kills
    python tests/kill_runs.py --kills 3 --seed 1

A small GAN is trained in a process of its own, once without checkpoints and once with a checkpoint every few steps,
killed (SIGKILL) again and again at random moments, in a step, while saving or while starting, and started again until
it ends. State and history of both must have the same SHA-256.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NUM_STEPS, EVERY = 150, 3
HANGS = 300.0  # seconds after which a process is taken to hang


def worker(folder: str | None) -> None:
    """Train and print the digest of state and history; `folder`: where checkpoints are kept, None for none."""
    import jax

    from imgbook import data, gan, training
    from imgbook.checkpoints import Checkpoints, as_numpy

    training.use_compilation_cache()  # so that a kill can come while it is written, too
    dataset = data.load("mnist", "train", "smoke")
    config = gan.config_for(dataset, "smoke", num_steps=NUM_STEPS)
    options = Checkpoints(folder, every=EVERY, resume=True) if folder else None
    _, state, history = gan.train(
        dataset, config, jax.random.key(0), progress=False, checkpoints=options
    )
    bits = digest({**as_numpy(state), **history.metrics})
    print(json.dumps({"digest": bits, "steps": len(history.metrics["generator_loss"])}))


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named arrays: names, dtypes, shapes and every bit."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\0".encode())
        sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()


@dataclass(frozen=True)
class Report:
    """expected, found: digests of the run that was left alone and of the killed one. at: step of the last checkpoint
    when each kill came (0: none yet). processes: how many it took."""

    expected: dict
    found: dict
    at: list[int]
    processes: int


def start(folder: Path | None, cache: Path) -> subprocess.Popen:
    command = [sys.executable, __file__, "--worker", *([str(folder)] if folder else [])]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen) -> dict:
    """What a worker prints at its end.

    Raises:
        RuntimeError: it failed.
    """
    out, _ = process.communicate(timeout=HANGS)
    if process.returncode:
        raise RuntimeError(
            f"a training that nobody killed ended with exit code {process.returncode}"
        )
    return json.loads(out)


def last_step(folder: Path) -> int:
    """The step of the last checkpoint that has its final name, 0 if there is none."""
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def run(kills: int, seed: int) -> Report:
    """Train once undisturbed and once with `kills` kills at random moments.

    Raises:
        RuntimeError: the training ended before all kills were done, or a resumed one failed.
    """
    rng = random.Random(seed)
    at, processes = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary) / "run", Path(temporary) / "cache"
        begin = time.perf_counter()
        expected = finish(start(None, cache))
        whole = time.perf_counter() - begin
        while len(at) < kills:
            process, reached = start(folder, cache), last_step(folder)
            processes += 1
            # Two thirds of the kills come after the run has saved something new, one third anywhere from the start on.
            steps = rng.randrange(0, max(2, NUM_STEPS // (kills + 1)))
            deadline = time.perf_counter() + (
                rng.uniform(0, whole) if rng.random() < 1 / 3 else HANGS
            )
            while last_step(folder) < reached + steps and time.perf_counter() < deadline:
                if process.poll() is not None:
                    raise RuntimeError(
                        f"the run ended by itself (exit code {process.returncode}) after {len(at)} kills"
                    )
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.15))  # somewhere between two checkpoints, or within one
            process.kill()
            process.communicate()
            at.append(last_step(folder))
            print(f"kill {len(at)}: last checkpoint at step {at[-1]} of {NUM_STEPS}", flush=True)
        found = finish(start(folder, cache))
    return Report(expected, found, at, processes + 1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", nargs="?", const="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        worker(arguments.worker or None)
        return 0
    report = run(arguments.kills, arguments.seed)
    same = report.found == report.expected
    print(
        f"{len(report.at)} kills, {report.processes} processes: "
        + ("the same bits as the run nobody killed" if same else f"DIFFERENT: {report}")
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
