#!/bin/bash
# Makes what the peers run in, outside the checkout: one venv each below BENCH_VENVS (default: the
# temporary folder), and `wrk` from the distribution. Run by run.sh whenever something is missing.
#
#   bench/setup.sh            the peers of every run
#   bench/setup.sh --all      Ray, Dask, BentoML and the Kernel Gateway, too
#   bench/setup.sh --queues   the task queues of W7, too, with Redis and PostgreSQL if it can
#   bench/setup.sh --lock     pin all of them anew
#
# All peers get the numpy, pandas and matplotlib of requirements/engine.lock, on the interpreter of
# the engine environment, so that the same work is the same work.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
venvs=${BENCH_VENVS:-${TMPDIR:-/tmp}/fanfold-bench-venvs}
python=$(readlink -f "$root/.environments/default/bin/python")
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180} UV_PYTHON_DOWNLOADS=never
if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}; fi
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi
unset PYTHONDONTWRITEBYTECODE PYTHONPATH VIRTUAL_ENV # else compileall would write nothing

uv() { "$root/.venv/bin/uv" --quiet --no-config "$@"; }

lock() {
	# engine.lock as constraints: uv takes no hashes there
	grep -E '^[a-z0-9].*==' "$root/requirements/engine.lock" | sed 's/ *\\$//' >"$venvs/constraints.txt"
	for group in base tabpy cluster gateway bento queues; do
		uv pip compile --python "$python" --no-header --no-annotate --no-emit-index-url \
			--constraints "$venvs/constraints.txt" "$here/requirements/$group.in" \
			--output-file "$here/requirements/$group.lock" >/dev/null
	done
}

make_venv() {
	local venv=$venvs/$1 wanted=$here/requirements/$1.lock
	if cmp --silent "$wanted" "$venv/made-from.lock"; then return; fi
	echo "bench: making the environment of $1"
	rm -rf "$venv"
	uv venv --no-project --python "$python" "$venv"
	uv pip sync --python "$venv" "$wanted"
	# else each start would compile again where PYTHONDONTWRITEBYTECODE is set
	"$venv/bin/python" -m compileall -q -j 0 "$venv/lib" || true # some packages carry templates
	cp "$wanted" "$venv/made-from.lock"
}

install_wrk() {
	if command -v wrk >/dev/null; then return; fi
	echo "bench: installing wrk"
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "bench: please install wrk (Debian, Ubuntu: apt install wrk)" >&2
		exit 1
	fi
	apt-get update -qq && apt-get install -y -qq wrk >/dev/null
}

install_services() {
	# what cannot be installed here is left out of the run, with a word about it
	local wanted=()
	command -v redis-server >/dev/null || wanted+=(redis-server)
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || wanted+=(postgresql)
	if [ "${#wanted[@]}" = 0 ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
	echo "bench: installing ${wanted[*]}"
	apt-get update -qq && apt-get install -y -qq "${wanted[@]}" >/dev/null || true
}

mkdir -p "$venvs"
if [ "${1:-}" = --lock ]; then
	lock
	exit
fi
install_wrk
make_venv base
make_venv tabpy
if [ "${1:-}" = --all ]; then
	make_venv cluster
	make_venv gateway
	make_venv bento
fi
if [ "${1:-}" = --queues ]; then
	install_services
	make_venv queues
fi
