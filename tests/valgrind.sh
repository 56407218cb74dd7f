#!/usr/bin/env bash
#
# tests/valgrind.sh [NAME ...]
#
# Runs short programs under valgrind with the stock interpreter: no memory error, and nothing
# definitely lost.  Prints what is wrong with each; exits with 1 if something was.  With names:
# those programs only; `-l` lists the names.
set -u
cd "$(dirname "$0")/.." || exit 2

export LUA_PATH="./lua/?.lua;./lua/?/init.lua;${LUA_PATH:-;}"
export LUA_CPATH="./build/?.so;${LUA_CPATH:-;}"
unset LUA_INIT LUA_INIT_5_4
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# program NAME STATUS: the source is read from stdin
names=()
declare -A want
program() {
  names+=("$1")
  want[$1]=$2
  cat >"$work/$1.lua"
}

program none 0 <<'LUA'
require("goro")
LUA
program finished 0 <<'LUA'
local goro = require("goro")
local c = goro.chan(10)
for i = 1, 1000 do goro.go(function() c:send({ i, tostring(i) }) end) end
local sum = 0
for _ = 1, 1000 do sum = sum + c:recv()[1] end
assert(sum == 500500)
LUA
program blocked 0 <<'LUA'
local goro = require("goro")
local c, up, wg = goro.chan(), goro.chan(100), goro.WaitGroup()
wg:add(1)
for i = 1, 1000 do
  goro.go(function()
    up:send(i)
    if i % 4 == 0 then c:recv()
    elseif i % 4 == 1 then c:send({ i, { "x" } })
    elseif i % 4 == 2 then goro.select { c, { send = goro.chan(), value = "v" } }
    else wg:wait() end
  end)
end
for _ = 1, 1000 do up:recv() end
LUA
program sleeping 0 <<'LUA'
local goro = require("goro")
local up = goro.chan(100)
for i = 1, 1000 do
  goro.go(function()
    up:send(i)
    goro.sleep(1000)
  end)
end
for _ = 1, 1000 do up:recv() end
LUA
program computing 0 <<'LUA'
local goro = require("goro")
local up = goro.chan()
for i = 1, 4 do
  goro.go(function()
    up:send(i)
    local t = {}
    while true do t[#t % 100 + 1] = { i } end
  end)
end
up:recv()
LUA
program messages 0 <<'LUA'
local goro = require("goro")
local c = goro.chan(100)
local other = goro.chan()               -- (a channel in its own buffer would stay: a cycle)
local t = { "in flight", { other }, function() return other end }
t.self = t
for _ = 1, 50 do c:send(t) end          -- left in the buffer, with handles inside
for _ = 1, 50 do goro.go(function(v) goro.chan():send(v) end, t) end
goro.sleep(0.1)
LUA
program nowhere 0 <<'LUA'
local goro = require("goro")
local up = goro.chan(100)
for i = 1, 20 do
  goro.go(function()
    table.sort({ 1, 2 }, function() up:send(i) goro.chan():recv() end)
  end)
  goro.go(function() coroutine.wrap(function() up:send(i) goro.chan():recv() end)() end)
end
for _ = 1, 40 do up:recv() end
LUA
program failures 0 <<'LUA'
local goro = require("goro")
for i = 1, 100 do goro.go(function() error({ i }) end) end
for _ = 1, 100 do pcall(goro.sleep, 5) end
for _ = 1, 10 do pcall(goro.chan().recv, goro.chan()) end
assert(not pcall(function() goro.chan(1):send({ {}, coroutine.create(print) }) end))
assert(not pcall(goro.go, function() return io.stdout, goro end, coroutine.create(print)))
LUA
program deadlock 1 <<'LUA'
local goro = require("goro")
local c = goro.chan()
for _ = 1, 100 do goro.go(function() c:recv() end) end
c:recv()
LUA
program exit 3 <<'LUA'
local goro = require("goro")
for _ = 1, 100 do goro.go(function() goro.sleep(1000) end) end
os.exit(3)
LUA
program exitclose 3 <<'LUA'
local goro = require("goro")
for _ = 1, 100 do goro.go(function() goro.sleep(1000) end) end
os.exit(3, true)
LUA
program goexit 3 <<'LUA'
local goro = require("goro")
goro.go(function() os.exit(3) end)
goro.sleep(1000)
LUA

if [ "${1:-}" = -l ]; then
  printf '%s\n' "${names[@]}"
  exit
fi
[ $# -gt 0 ] && names=("$@")

failed=0
for name in "${names[@]}"; do
  timeout -s KILL 120 valgrind -q --leak-check=full --show-leak-kinds=definite \
    --errors-for-leak-kinds=definite --error-exitcode=99 --log-file="$work/log" \
    "${LUA:-lua5.4}" "$work/$name.lua" >"$work/out" 2>"$work/err" </dev/null
  status=$?
  if [ $status -ne "${want[$name]}" ] || [ -s "$work/log" ] || [ -s "$work/out" ]; then
    echo "$name: exit status $status instead of ${want[$name]}"
    head -n 20 "$work/out" "$work/err"
    head -n 60 "$work/log"
    failed=1
  fi
done
exit $failed
