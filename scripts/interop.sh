#!/usr/bin/env bash
# What programs of others say about a log of ours. Needs Go and Python with venv; everything that
# is downloaded or built lands in .cache/. Each referee is also shown a damaged copy, which it
# must refuse: a referee that cannot refuse has said nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

custody=$PWD/target/release/custody
samples=$PWD/collectors/formats/samples
cache=$PWD/.cache/interop
mkdir -p "$cache"

step() { printf '\n== %s\n' "$*"; }

# Runs a command that must end with 1, quietly.
refuses() {
    local code=0
    "$@" >"$cache/refusal" 2>&1 || code=$?
    if [ "$code" != 1 ]; then
        printf 'interop: ended with %s, not 1: %s\n' "$code" "$*" >&2
        cat "$cache/refusal" >&2
        exit 1
    fi
}

# flip FILE: inverts the lowest bit of the byte in the middle.
flip() {
    "$python" -c 'import sys
with open(sys.argv[1], "r+b") as file:
    data = bytearray(file.read())
    data[len(data) // 2] ^= 1
    file.seek(0)
    file.write(data)' "$1"
}

step referees
(cd interop && go build -o "$cache/" ./fsck ./checkpoint)
python=$cache/venv/bin/python
if ! [ -x "$python" ]; then
    python3 -m venv "$cache/venv"
fi
"$python" -m pip install --quiet --requirement interop/requirements.txt

step a log of ours with three levels of tiles
rm -rf "$cache/log" "$cache/tiles" "$cache/many.csv"
"$custody" init "$cache/log" --deployment interop.example --label 2026 --quiet
for _ in $(seq 400); do
    cat "$samples/pg15-pgaudit17-rows-off-utc.csv"
done >"$cache/many.csv"
(
    cd "$cache/log"
    "$custody" ingest --source "one=postgresql:$samples/pg15-pgaudit17-edge-rows-on-newyork.csv" \
        --source "many=postgresql:$cache/many.csv"
    "$custody" tiles "$cache/tiles"
)
trust=$cache/log/trust/main.policy

step fsck of tlog-tiles, by another project
"$cache/fsck" "$trust" "$cache/tiles"
files=0
while IFS= read -r file; do
    flip "$file"
    refuses "$cache/fsck" "$trust" "$cache/tiles"
    flip "$file"
    mv "$file" "$cache/aside"
    refuses "$cache/fsck" "$trust" "$cache/tiles"
    mv "$cache/aside" "$file"
    files=$((files + 1))
done < <(
    {
        find "$cache/tiles/tile" -type f | sort | awk 'NR % 40 == 1'
        find "$cache/tiles/tile" -type f -path '*.p/*'
        find "$cache/tiles/tile/1" "$cache/tiles/tile/2" -type f
    } | sort -u
)
printf 'fsck: refused each of %d files changed, and each missing\n' "$files"
"$cache/fsck" "$trust" "$cache/tiles"

step signatures of the checkpoint, by two other implementations
checkpoint=$cache/tiles/checkpoint
"$cache/checkpoint" "$trust" "$checkpoint"
"$python" interop/mldsa_check.py "$trust" "$checkpoint"
"$python" - "$checkpoint" "$cache/damaged" <<'PYTHON'
import sys
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    lines = file.read().split("\n")
lines[1] = str(int(lines[1]) + 1)
with open(sys.argv[2], "w", encoding="utf-8", newline="") as file:
    file.write("\n".join(lines))
PYTHON
refuses "$cache/checkpoint" "$trust" "$cache/damaged"
refuses "$python" interop/mldsa_check.py "$trust" "$cache/damaged"
printf 'checkpoint: both refused another size\n'

step events of the samples, by the schema of OCSF 1.8
prefix='%m [%p] %q[user=%u,db=%d,app=%a,host=%h,sess=%c,line=%l,vxid=%v,xid=%x,qid=%Q] '
valid() {
    "$custody" parse "$@" >"$cache/events.jsonl" || [ $? = 6 ]
    "$python" scripts/ocsf_check.py "$cache/events.jsonl"
}
for file in "$samples"/pg*; do
    valid --platform postgresql --set "log_line_prefix=$prefix" "$file"
done
for file in "$samples"/mariadb*; do
    valid --platform mariadb "$file"
done
"$python" scripts/ocsf_check.py --self-test

step 'nothing to say'
