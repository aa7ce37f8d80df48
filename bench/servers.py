"""PostgreSQL and Redis, each with a folder and a port of its own, for the time of a run."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30


class Missing(Exception):
    """A server that is not installed, or does not start."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find(name, *patterns):
    """The newest program that a pattern finds, or the one on the PATH."""
    found = sorted(path for pattern in patterns for path in glob.glob(pattern))
    path = found[-1] if found else shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not installed: apt-get install postgresql redis-server")
    return path


def start(command, end, folder, port):
    """A process that answers at its port, with its folder. It gets the signal `end` when this script is killed."""
    log = os.path.join(folder, "log")
    command = ["setpriv", "--pdeathsig", end.name.removeprefix("SIG"), *(str(word) for word in command)]
    with open(log, "ab") as output:
        # In a group of its own: Ctrl-C is for this script, which then ends the server.
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        time.sleep(0.05)
    # It may be neither up nor down.
    stop(process, end)
    with open(log, errors="replace") as output:
        said = output.read()[-1000:]
    raise Missing(f"{os.path.basename(folder)} did not answer at port {port} in {START_SECONDS_MAX} s: {said}")


def stop(process, how):
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        print(f"{process.args[0]} does not end; killing it", file=sys.stderr)
        process.kill()
        process.wait()


@contextlib.contextmanager
def postgres(folder):
    """With the settings that a server of its own would have: fsync, synchronous_commit and full pages are on, as they
    are by default; more memory, and no checkpoint in the middle. Yields its connection string."""
    data, port = os.path.join(folder, "data"), free_port()
    initdb = find("initdb", "/usr/lib/postgresql/*/bin/initdb")
    server = os.path.join(os.path.dirname(initdb), "postgres")
    # It refuses to run as root. Not by `runuser`, which would stay between it and our signals.
    user = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    made = subprocess.run(
        ["setpriv", *user, initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust",
         "--encoding", "UTF8", "--no-locale"],
        capture_output=True, text=True, cwd=folder, check=False)
    if made.returncode != 0:
        raise Missing(f"initdb: {made.stderr.strip()}")
    settings = {
        "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
        "shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on", "synchronous_commit": "on",
    }
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    # Fast: connections are cut.
    process = start([*user, server, "-D", data, *arguments], signal.SIGINT, folder, port)
    try:
        yield f"host=127.0.0.1 port={port} user=postgres"
    finally:
        stop(process, signal.SIGINT)


@contextlib.contextmanager
def redis(folder, appendfsync):
    """With an append-only file and no snapshots. Yields its port."""
    port = free_port()
    command = [find("redis-server"), "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
               "--appendonly", "yes", "--appendfsync", appendfsync]
    process = start(command, signal.SIGTERM, folder, port)
    try:
        yield port
    finally:
        stop(process, signal.SIGTERM)
