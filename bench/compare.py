#!/usr/bin/env python3
"""Runs Dovetail and its peers in turn, and prints one table. Started by bench/run. Builds what it runs.

Rounds go around: each program once, then each again, so that what the machine does meanwhile meets all of them alike.
A figure is the median of its rounds. Python's standard library is all it takes.
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import servers

PEERS = "target/release/dovetail-peers"
DOVETAIL = "target/release/dovetail"

# The skeleton's messages are the same for every workload, and it is fast: fewer elements would measure its start.
SKELETON_ELEMENTS_MIN = 2_000_000

ALL = "w1 w2 w3 w4 w5".split()
KEYED = "w1 w2 w3 w4".split()

# What is on disk when a pair is told, and whether the pairs are those of the sequential program; then the workloads.
PROGRAMS = {
    "dovetail": ("all", "sequential", ALL),
    "postgres-rows": ("all", "none twice", KEYED),
    "postgres-sets": ("all", "sequential", KEYED),
    "redis-always": ("all", "sequential", KEYED),
    "redis-everysec": ("up to 1 s ago", "sequential", KEYED),
    "index": ("nothing", "sequential", KEYED),
    "scan": ("nothing", "sequential", ALL),
    "skeleton": ("nothing", "no pairs", ALL),
}


class Failed(Exception):
    """A program that gave no figure."""


def arguments():
    parser = argparse.ArgumentParser(prog="bash bench/run", description="Dovetail beside its peers, in one run.")
    parser.add_argument("--workload", default="w2", choices=ALL, help="default: %(default)s")
    parser.add_argument("--elements", type=bounded(2, 10_000_000), default=100_000, metavar="N",
                        help="default: %(default)s")
    parser.add_argument("--rounds", type=bounded(1, 1_000), default=5, metavar="R", help="default: %(default)s")
    parser.add_argument("--only", type=listed, default=list(PROGRAMS), metavar="A,B",
                        help=f"of {', '.join(PROGRAMS)}; `postgres` and `redis` mean both of theirs")
    parser.add_argument("--limit", type=bounded(1, 3_600), default=120, metavar="SECONDS",
                        help="longest run of a program; one that takes longer is left out from then on "
                             "(default: %(default)s)")
    parser.add_argument("--data", default="target", metavar="FOLDER",
                        help="where Dovetail and the servers make their folders, so that all have one disk "
                             "(default: %(default)s)")
    parser.add_argument("--matchers", type=bounded(1, 16), default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--gatherers", type=bounded(1, 16), default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--dovetail", type=float, default=None, metavar="FIGURE",
                        help="elements a second, instead of running Dovetail")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    return parser.parse_args()


def bounded(low, high):
    def read(text):
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not within {low} to {high}")
        return number
    read.__name__ = "number"
    return read


def listed(text):
    names = []
    for word in text.split(","):
        known = [name for name in PROGRAMS if name == word or name.startswith(f"{word}-")]
        if not known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(PROGRAMS)}")
        names += known
    return names


def run(command, limit):
    """The JSON object that a program prints; it is ended with us, and after `limit` seconds."""
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"over {limit} s") from late
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode != 0:
        raise Failed(err.strip().splitlines()[-1] if err.strip() else f"exit code {process.returncode}")
    return json.loads(out)


def dovetail(options):
    """Dovetail's own figure: a cluster of processes, from the first element sent until the last pair was told."""
    command = [DOVETAIL, "bench", "--workload", options.workload, "--elements", options.elements,
               "--matchers", options.matchers, "--gatherers", options.gatherers, "--data", options.data, "--json"]
    report = run(command, options.limit)
    return {"elements_per_s": report["summary"]["elements_per_s"]["median"],
            "matches": report["rounds"][0]["result"]["found"]["matches"]}


def build(options):
    """Each for itself, so that what one needs of a library is not in the other."""
    packages = ["dovetail-peers"]
    if "dovetail" in options.only and options.dovetail is None:
        packages.append("dovetail")
    for package in packages:
        command = ["cargo", "build", "--release", "--locked", "--bins", "-p", package]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(f"bench/run: {package} does not build")


def commands(options, stack, folder):
    """For each program that was asked for, what runs it once. Servers are started here, and end with `stack`."""
    workload = ["--workload", options.workload, "--elements", options.elements]
    chosen = [name for name in PROGRAMS if name in options.only and options.workload in PROGRAMS[name][2]]
    runs = {}

    def own(name):
        path = os.path.join(folder, name)
        os.makedirs(path)
        return path

    def peer(*words):
        return lambda: run([PEERS, *words], options.limit)

    if any(name.startswith("postgres") for name in chosen):
        server = stack.enter_context(servers.postgres(own("postgres")))
    for name in chosen:
        if name == "dovetail":
            if options.dovetail is None:
                runs[name] = lambda: dovetail(options)
        elif name.startswith("postgres"):
            runs[name] = peer(name, *workload, "--server", server)
        elif name.startswith("redis"):
            port = stack.enter_context(servers.redis(own(name), name.removeprefix("redis-")))
            runs[name] = peer("redis", *workload, "--port", port)
        elif name == "skeleton":
            elements = max(options.elements, SKELETON_ELEMENTS_MIN)
            nodes = ["--matchers", options.matchers, "--gatherers", options.gatherers]
            runs[name] = peer(name, "--elements", elements, *nodes)
        else:
            runs[name] = peer(name, *workload)
    return runs


def measure(options):
    """Per program, the figures of its rounds and what was said of its pairs; and why some have none."""
    figures, failures = {}, {}
    os.makedirs(options.data, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="bench-", dir=options.data)
    # PostgreSQL's own user has to come through.
    os.chmod(folder, 0o755)
    try:
        with contextlib.ExitStack() as stack:
            runs = commands(options, stack, os.path.abspath(folder))
            for number, (name, once) in itertools.product(range(options.rounds), runs.items()):
                if name in failures:
                    continue
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
                try:
                    figures.setdefault(name, []).append(once())
                except Failed as failure:
                    failures[name] = str(failure)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures, failures


def table(options, figures, failures):
    rows = []
    own = options.dovetail
    if own is None and figures.get("dovetail"):
        own = statistics.median(figure["elements_per_s"] for figure in figures["dovetail"])
    for name, (durable, promise, _) in PROGRAMS.items():
        row = {"program": name, "durable": durable, "promise": promise}
        if name == "dovetail" and options.dovetail is not None:
            row |= {"elements_per_s": own, "least": own, "most": own}
        elif name in failures:
            row["failure"] = failures[name]
        elif name in figures:
            rates = [figure["elements_per_s"] for figure in figures[name]]
            row |= {"elements_per_s": statistics.median(rates), "least": min(rates), "most": max(rates)}
            for key in ("matches", "matches_sequential"):
                row[key] = [figure.get(key) for figure in figures[name]]
        else:
            continue
        if own and "elements_per_s" in row:
            row["dovetail_to_it"] = own / row["elements_per_s"]
        rows.append(row)
    return rows


def pairs(row):
    """What is known of a program's pairs."""
    made, possible = row.get("matches", [None])[0], row.get("matches_sequential", [None])[0]
    if row["promise"] != "none twice" or made is None:
        return row["promise"]
    return f"none twice; {min(row['matches']):,} of {possible:,}"


def show(options, rows):
    rounds = f"median of {options.rounds} rounds" if options.rounds > 1 else "one round"
    print(f"{options.workload}, {options.elements:,} elements, {rounds}, one program at a time\n")
    line = "{:<15} {:>12} {:>23} {:>12}  {:<17}  {}".format
    print(line("program", "elements/s", "least..most", "dovetail is", "on disk when told", "pairs"))
    for row in rows:
        if "failure" in row:
            print(f"{row['program']:<15} {'-':>12} {row['failure']}")
            continue
        spread = f"{row['least']:,.0f}..{row['most']:,.0f}"
        ratio = f"{row['dovetail_to_it']:.3g} x" if "dovetail_to_it" in row else "-"
        print(line(row["program"], f"{row['elements_per_s']:,.0f}", spread, ratio, row["durable"], pairs(row)))


def main():
    options = arguments()
    # So that what is under way is ended by the `finally`s.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        build(options)
        rows = table(options, *measure(options))
    except servers.Missing as missing:
        sys.exit(f"bench/run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        run_of = {"workload": options.workload, "elements": options.elements, "rounds": options.rounds}
        print(json.dumps(run_of | {"rows": rows}))
    else:
        show(options, rows)
    if any("failure" in row for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
