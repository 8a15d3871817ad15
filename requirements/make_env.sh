#!/bin/sh
# Makes an environment: ./requirements/make_env.sh PYTHON FOLDER FILE…, the files being requirements in this folder.
# Called by make; safe to call again after an interruption.
# Every way it can fail ends in one line that says what to do; pip's own output goes to a log.
set -u
python=$1
env=$2
shift 2
log=$env/install.log
room_gb=9 # torch's CUDA build and its libraries take 6 GB, and pip unpacks beside them

fail() {
    echo "set-up: $1" >&2
    exit 2
}

command -v "$python" >/dev/null 2>&1 || fail "no interpreter '$python'; name one with PYTHON=/path/to/python3.10-or-newer"
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || fail "'$python' does not start as a Python; name another with PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "'$python' is Python $found, 3.10 or newer is needed; name another with PYTHON=…"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "'$python' has no venv module; on Debian and Ubuntu: apt install python$found-venv"

if [ ! -x "$env/bin/pip" ]; then
    free_gb=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
    [ "$free_gb" -ge $room_gb ] || fail "$free_gb GB free here, about $room_gb GB are needed; free some or move the checkout"
    rm -rf "$env"
    problem=$("$python" -m venv "$env" 2>&1) || fail "venv failed: $(echo "$problem" | tail -n 1)"
fi

install() {
    "$env/bin/python" -m pip install --disable-pip-version-check --quiet "$@" >>"$log" 2>&1 && return
    if grep -q 'No space left on device' "$log"; then fail "the disk is full; free about $room_gb GB and call again"; fi
    fail "pip failed: $(grep -v '^WARNING' "$log" | tail -n 1) (all of it: $log)"
}

echo "set-up: installing into $env with Python $found (once; about 80 s where packages are near)"
: >"$log"
for file do
    shift
    set -- "$@" -r "requirements/$file"
done
install --only-binary :all: "$@"
install --no-deps --no-build-isolation --editable .
