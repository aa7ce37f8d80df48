"""Runs of `dovetail bench`, for the scripts that make tables of them. Python's standard library is all they take."""

import json
import os
import subprocess
import sys

DOVETAIL = "target/release/dovetail"


def build():
    """Builds what runs. Who has just built everything may say so."""
    if not os.environ.get("NO_BUILD"):
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bins"], check=True)


def listed(kind):
    """Reads a flag's value, split at commas."""
    return lambda text: [kind(value) for value in text.split(",")]


def bench(*flags, pool=None, elements=None):
    """One round of `dovetail bench`."""
    command = [DOVETAIL, "bench", "--json", *map(str, flags)]
    if pool:
        command += ["--pool-file", pool, "--input", elements]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1_800)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    told = json.loads(done.stdout)
    if not told["summary"]["correct"]:
        sys.exit(f"{' '.join(command)}: a wrong result")
    return told


def measures(told):
    """What one round cost, by element."""
    count, round_ = told["elements"], told["rounds"][0]
    usage = {role["role"]: role for role in round_["usage"]}
    streams = {}
    for stream in round_["streams"]:
        name = f"{stream['stream']} to {stream['to']}" if stream["stream"] == "decisions" else stream["stream"]
        streams[name] = streams.get(name, 0) + stream["bytes"] / count
    return {
        "elements_per_s": told["summary"]["elements_per_s"]["median"],
        "cpu_us": {role: 1e6 * used["cpu_seconds"] / count for role, used in usage.items()},
        "peak_bytes": {role: used["peak_memory_bytes"] for role, used in usage.items()},
        "stream_bytes": streams,
        "probes": round_["search"]["probes"] / count,
        "candidates_per_probe": round_["search"]["candidates_per_probe"],
    }
