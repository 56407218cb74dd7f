#!/usr/bin/env bash
# run.sh [seconds [connections...]]: requests per second of the same answer from goro, copas, luv
# and Go's net/http, driven by wrk in turns; on one core (servers pinned to CPU 0) and on two.
# copas parses requests by the same code as goro's example; "least" by what is enough for wrk.
# Figures of shared machines mean something as ratios in one run only; where others use the CPUs
# as well, look at the processor time each request took.  wrk needs a core as well: what a second
# one gives shows where an answer costs more than the question, as with a file read for each.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-10}
shift || true
[ $# -gt 0 ] || set -- 64 1000
tmp=$(mktemp -d)
mkdir "$tmp/files"
head -c 3000 bench/http/run.sh > "$tmp/files/index.html"
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$tmp"' EXIT
ulimit -n 8192 2>/dev/null || true
# shellcheck disable=SC2012
copas=$(ls /usr/share/lua/5.?/copas.lua /usr/local/share/lua/5.4/copas.lua 2>/dev/null | head -1 || true)

# bench name connections command...
bench () {
  local name=$1 connections=$2
  shift 2
  "$@" > "$tmp/out" 2> "$tmp/err" &
  server=$!
  for _ in $(seq 100); do [ -s "$tmp/out" ] && break; sleep 0.05; done
  wrk -t 1 -c "$connections" -d "$seconds" --timeout 5s "$(head -1 "$tmp/out")" > "$tmp/wrk" || true
  ticks=$(awk '{ print $14 + $15 }' "/proc/$server/stat")
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
  awk -v name="$name" -v c="$connections" -v ms=$((ticks * 1000 / $(getconf CLK_TCK))) '
    / requests in / { n = $1 }
    /Requests\/sec/ { rate = $2 }
    /Latency/ { latency = $2 }
    /Socket errors|Non-2xx/ { errors = errors " " $0 }
    END {
      printf "%-22s %5d connections %8.0f requests/s  latency %8s  CPU %5.1f us each%s\n",
        name, c, rate, latency, (n > 0 ? ms * 1000 / n : 0), errors
    }' "$tmp/wrk"
}

if command -v go > /dev/null; then (cd bench/http/go && go build -o "$tmp/httpd" .); fi
for c in "$@"; do
  GOROMAXPROCS=1 bench "goro, 1 core" "$c" taskset -c 0 tools/lua examples/httpd.lua --addr 127.0.0.1:0
  [ -z "$copas" ] || LUA_PATH="$(dirname "$copas")/?.lua;;" \
    bench "copas, 1 core" "$c" taskset -c 0 lua5.4 bench/http/copas.lua
  [ -z "$copas" ] || LUA_PATH="$(dirname "$copas")/?.lua;;" \
    bench "copas, least, 1 core" "$c" taskset -c 0 lua5.4 bench/http/copas.lua least
  bench "luv, 1 core" "$c" taskset -c 0 lua5.4 bench/http/luv.lua
  if [ -x "$tmp/httpd" ]; then
    GOMAXPROCS=1 bench "Go net/http, 1 core" "$c" taskset -c 0 "$tmp/httpd"
  fi
  GOROMAXPROCS=2 bench "goro, 2 cores" "$c" tools/lua examples/httpd.lua --addr 127.0.0.1:0
  if [ -x "$tmp/httpd" ]; then GOMAXPROCS=2 bench "Go net/http, 2 cores" "$c" "$tmp/httpd"; fi
  for n in 1 2; do
    GOROMAXPROCS=$n bench "goro, a file, $n core" "$c" \
      tools/lua examples/httpd.lua --addr 127.0.0.1:0 --root "$tmp/files"
  done
done
