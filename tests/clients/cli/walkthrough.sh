#!/usr/bin/env bash
# Walks through the documentation of JetStream with the nats command line client, as written there
# (what it asks for interactively is given by flags): the ORDERS stream with its consumers NEW,
# DISPATCH and MONITOR; ARCHIVE and REPORT, which take their messages from others; backups of streams
# and of an account.
#
# Usage: walkthrough.sh SERVER_BINARY [NATS_CLI]
#
# Prints `ok COMMAND` for each; ends with a non-zero status at the first that fails, or does not say
# what it is to say. Without the client it says that it was skipped.

set -euo pipefail
server=$1
nats=${2:-nats}
if ! command -v "$nats" >/dev/null; then
    echo "SKIPPED: there is no $nats"
    exit 0
fi
dir=$(mktemp -d)
: >"$dir/out"
pid=

finish() {
    local status=$?
    if [[ -n $pid ]]; then
        kill "$pid" || true
        wait "$pid" || true
    fi
    if ((status != 0)); then
        printf 'the last output:\n%s\n' "$(cat "$dir/out")" >&2
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT

# start STORE: a server on a free port.
start() {
    : >"$dir/log"
    "$server" -a 127.0.0.1 -p -1 -js -sd "$dir/$1" 2>"$dir/log" &
    pid=$!
    local port=
    for _ in {1..200}; do
        port=$(sed -nE 's/.*Listening for client connections on 127\.0\.0\.1:([0-9]+)$/\1/p' "$dir/log")
        [[ -n $port ]] && grep -q 'Server is ready' "$dir/log" && break
        sleep 0.05
    done
    export NATS_URL=nats://127.0.0.1:$port
}

stop() {
    kill "$pid"
    wait "$pid" || true
    pid=
}

# run COMMAND...: runs the client without prompts; its output is in $dir/out.
run() {
    if ! timeout 30 "$nats" "$@" >"$dir/out" 2>&1 </dev/null; then
        echo "FAILED: nats $*"
        return 1
    fi
    echo "ok nats $*"
}

# says PATTERN...: the last output has each of these.
says() {
    local pattern
    for pattern in "$@"; do
        if ! grep -Eq -- "$pattern" "$dir/out"; then
            echo "does not say: $pattern"
            return 1
        fi
    done
}

# field NAME: a number or a string of the last output, which is JSON.
field() {
    python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2].split("."):
    value = value.get(name)
print(value)' "$dir/out" "$1"
}

# is NAME VALUE
is() {
    local value
    value=$(field "$1")
    if [[ $value != "$2" ]]; then
        echo "$1 is $value, not $2"
        return 1
    fi
}

# until_is NAME VALUE COMMAND...: asks again until it is so.
until_is() {
    local name=$1 value=$2 tries
    shift 2
    for tries in {1..100}; do
        run "$@" >/dev/null
        [[ $(field "$name") == "$value" ]] && break
        sleep 0.1
    done
    is "$name" "$value"
    echo "ok nats $* ($name is $value after $tries)"
}

start store

echo '== Streams'
run account info
says 'Account Information' 'Streams:.* 0 of Unlimited|Streams: 0'
orders=(--subjects 'ORDERS.*' --ack --max-msgs=-1 --max-bytes=-1 --max-age=1y --storage file
    --retention limits --max-msg-size=-1 --discard old --dupe-window=0s --replicas 1)
run str add ORDERS "${orders[@]}" --defaults
says 'ORDERS' 'Subjects: ORDERS\.\*'
run str ls
says 'ORDERS'
run str info ORDERS
says 'Maximum Age: 1y0d0h0m0s|Maximum Age: 1y'
run str info ORDERS -j
is config.max_age 31536000000000000
is config.duplicate_window 120000000000
python3 -c 'import json, sys
json.dump(json.load(open(sys.argv[1]))["config"], open(sys.argv[2], "w"))' "$dir/out" "$dir/orders.json"
run str cp ORDERS ARCHIVE --subjects 'ORDERS_ARCHIVE.*' --max-age 2y
says 'Subjects: ORDERS_ARCHIVE\.\*'
run str rm ARCHIVE -f
run str edit ORDERS --subjects ORDERS.new -f
says 'ORDERS\.new'
run str edit ORDERS --subjects 'ORDERS.*' -f
says 'ORDERS\.\*'
run str edit ORDERS --config "$dir/orders.json" -f
run str rm ORDERS -f
run str add ORDERS --config "$dir/orders.json"
run pub ORDERS.scratch hello
run req ORDERS.scratch hello
says '"stream":"ORDERS","seq":2'
run str info ORDERS -j
is state.messages 2
run str rmm ORDERS 1 -f
run str info ORDERS -j
is state.messages 1
is state.first_seq 2
run str get ORDERS 2
says hello
run str purge ORDERS -f
run str info ORDERS -j
is state.messages 0
is state.first_seq 3
run str rm ORDERS -f
run str add ORDERS "${orders[@]}" --defaults

echo '== Consumers'
run con ls ORDERS
says 'No Consumers'
run con add ORDERS NEW --filter ORDERS.received --ack explicit --pull --deliver all --sample 100 \
    --max-deliver 20 --defaults
says 'NEW'
run con add ORDERS DISPATCH --filter ORDERS.processed --ack explicit --pull --deliver all \
    --sample 100 --max-deliver 20 --defaults
run con add ORDERS MONITOR --ack none --target monitor.ORDERS --deliver last --replay instant \
    --filter '' --defaults
run con info ORDERS MONITOR -j
is config.deliver_policy last
python3 -c 'import json, sys
json.dump(json.load(open(sys.argv[1]))["config"], open(sys.argv[2], "w"))' "$dir/out" "$dir/monitor.json"
run con rm ORDERS MONITOR -f
run con add ORDERS MONITOR --config "$dir/monitor.json"
run con ls ORDERS
says DISPATCH MONITOR NEW
run con info ORDERS DISPATCH
says 'Filter Subject: ORDERS\.processed' 'Ack Policy: Explicit' 'Maximum Deliveries: 20' 'Sampling Rate: 100'
for n in 1 2 3; do run pub ORDERS.processed "order $n"; done
run con next ORDERS DISPATCH
says 'order 1' 'Acknowledged message'
run con next ORDERS DISPATCH
says 'order 2'
# shellcheck disable=SC2016 # the subject has a dollar sign
run req '$JS.API.CONSUMER.MSG.NEXT.ORDERS.DISPATCH' ''
says 'order 3'
run con info ORDERS DISPATCH -j
is delivered.stream_seq 3
is ack_floor.stream_seq 2
is num_ack_pending 1
timeout 30 "$nats" sub monitor.ORDERS --count 4 >"$dir/heard" 2>&1 </dev/null &
subscriber=$!
until_is push_bound True con info ORDERS MONITOR -j
run pub ORDERS.processed 'order 4'
wait "$subscriber"
grep -q 'order 3' "$dir/heard"
grep -q 'order 4' "$dir/heard"
run con report ORDERS
says DISPATCH MONITOR NEW
run con pause ORDERS NEW 1h -f
run con info ORDERS NEW
says 'Paused'
run con resume ORDERS NEW -f
run con edit ORDERS NEW --max-deliver 7 -f
run con copy ORDERS NEW OTHER
run con rm ORDERS OTHER -f

echo '== Sources and mirrors'
run s add RETURNS --subjects 'RETURNS.*' --storage memory --defaults
run s add ARCHIVE --source ORDERS --source RETURNS --defaults
run s add REPORT --mirror ARCHIVE --defaults
until_is state.messages 4 s info REPORT -j
run s report
says 'Replication Report' 'ARCHIVE' 'REPORT'
run s purge ORDERS -f
run req ORDERS.new 'ORDER {{Count}}' --count 100
run req RETURNS.new 'RETURN {{Count}}' --count 100
until_is state.messages 204 s info REPORT -j
run s info ARCHIVE
says 'Source Information|Sources' 'ORDERS' 'RETURNS'
run s info REPORT
says 'Mirror'
run s report --dot "$dir/replication.dot"
grep -q ARCHIVE "$dir/replication.dot"

echo '== Backup and restore'
run stream backup ORDERS "$dir/backup1" --no-progress
run stream rm ORDERS -f
run stream restore "$dir/backup1" --no-progress
run stream info ORDERS -j
is state.messages 100
is state.consumer_count 3
run con info ORDERS DISPATCH -j
is ack_floor.stream_seq 4
run account backup "$dir/all" --force
ls "$dir/all" >"$dir/out"
says ORDERS ARCHIVE REPORT RETURNS
stop
start another
run account restore "$dir/all"
run s ls -n
says ORDERS ARCHIVE REPORT RETURNS
run s info ORDERS -j
is state.messages 100
run s info REPORT -j
is state.messages 204

echo '== Key-value and object store'
run kv add CONFIG --history 5
run kv put CONFIG name value
run kv get CONFIG name --raw
says '^value$'
run kv create CONFIG other 1
run kv update CONFIG other 2 2
run kv history CONFIG name
run kv del CONFIG name -f
run kv ls CONFIG
says other
run kv purge CONFIG other -f
run kv status CONFIG
run kv del CONFIG -f
head -c 3000000 /dev/urandom >"$dir/file"
run object add FILES
(cd "$dir" && run object put FILES file -f --no-progress)
run object ls FILES
says file
run object get FILES file -O "$dir/again" -f --no-progress
cmp "$dir/file" "$dir/again"
run object info FILES file
run object rm FILES file -f
echo '== Events and reports'
run server check jetstream
says 'OK'
run server check stream --stream ORDERS --peer-expect 0
run account info
says 'Streams:'
run bench js pub sync --create --stream BENCH --purge --msgs 1000 bench.x --no-progress
run bench js pub async --stream BENCH --msgs 1000 bench.x --no-progress
run bench js consume --stream BENCH --msgs 1000 --no-progress
echo 'all commands do what they are to do'
