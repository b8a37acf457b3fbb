#!/bin/bash
# Measures ours, its peers and the limits in one interleaved run; `bench/run.sh --help`, README.md.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if [ ! -x "$root/.venv/bin/fanfold" ]; then
	echo "bench: run \`make setup\` first, or \`make bench\`, which does" >&2
	exit 1
fi
all=
queues=
for word in "$@"; do
	if [ "$word" = --all ]; then all=--all; fi
	if [ "$word" = W7 ]; then queues=--queues; fi
done
"$root/bench/setup.sh" $all
if [ -n "$queues" ]; then "$root/bench/setup.sh" $queues; fi
cd "$root"
exec .venv/bin/python -m bench "$@"
