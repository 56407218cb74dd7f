#!/usr/bin/env bash
#
# tests/lifecycle.sh STATE ENDING [COUNT]
#
# Runs a script that has goroutines in STATE and comes to its end by ENDING, COUNT times (100, or
# what GOROLIFE says), two at a time, with GOROMAXPROCS 1, 2 and 8 in turn.  Each run must have
# exactly the exit status and the output that a script without goroutines would have, within
# GOROLIFE_LIMIT (5) seconds.  Prints each failure; exits with 1 if there was one.
#
#   STATE   idle       1,000 goroutines that have ended
#           computing  48 that compute without end
#           blocked    1,000 that wait: channels, select, sleep, WaitGroup, coroutines, ...
#           execute    20 in os.execute("sleep 1000")
#           read       20 in file:read() on pipes that never deliver
#   ENDING  return | error | exit | exitclose   the main script returns, raises, calls
#                                               os.exit(7), os.exit(7, true)
#           goexit                              a goroutine calls os.exit(7)
#           int | term                          the signal comes
#           caught                              SIGINT, and the script catches "interrupted!"
#           host                                build/tests/host runs the script, lua_close
set -u
cd "$(dirname "$0")/.." || exit 2

state=$1 ending=$2 count=${3:-${GOROLIFE:-100}} limit=${GOROLIFE_LIMIT:-5}
build=build
[ "${GOROBUILD:-release}" != release ] && build=build/$GOROBUILD
export LUA_PATH="./lua/?.lua;./lua/?/init.lua;${LUA_PATH:-;}"
export LUA_CPATH="./$build/?.so;${LUA_CPATH:-;}"
unset LUA_INIT LUA_INIT_5_4

command=("${LUA:-lua5.4}" tests/lifecycle.lua)
[ "$build" != build ] && command[0]=tools/lua
does=$ending signal=
case $ending in
  return)                status=0 ;;
  error)                 status=1 ;;
  exit|exitclose|goexit) status=7 ;;
  caught)                status=0 signal=INT ;;
  int)                   status=1 signal=INT does=signal ;;
  term)                  status=143 signal=TERM does=signal ;;
  host)                  status=0 does=return
                         command=("${GOROHOST:-build/tests/host}" one tests/lifecycle.lua) ;;
  *) echo "no such ending: $ending" >&2; exit 2 ;;
esac

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# stderr_is_fine FILE: nothing there, or Lua's own report where one is due
stderr_is_fine() {
  local lines line first
  mapfile -t lines <"$1"
  case $ending in
    error) first='lifecycle\.lua:[0-9]+: the end$' ;;
    int)   first='interrupted!$' ;;
    *)     [ ${#lines[@]} -eq 0 ]; return ;;
  esac
  [ ${#lines[@]} -gt 1 ] && [[ ${lines[0]} =~ $first ]] || return 1
  [ "${lines[1]}" = "stack traceback:" ] || return 1
  for line in "${lines[@]:2}"; do
    [[ $line == $'\t'* ]] || return 1
  done
}

# once ROUND DIR: one run; descriptors 8 and 9 are its output and its input, both pipes
once() {
  local i=$1 dir=$2 procs=(1 2 8) word="" pid="" got rest="" trouble=""
  GOROMAXPROCS=${procs[i % 3]} LIFECYCLE_PIPE=$dir/in \
    timeout -s KILL "$limit" env --default-signal=INT,QUIT,TERM,PIPE \
    "${command[@]}" "$state" "$does" "$i" <&9 >&8 2>"$dir/err" 8>&- 9>&- &
  local group=$!
  read -r -t "$limit" -u 8 word pid
  [ "$word" = ready ] || trouble="it did not get ready; "
  [ -n "$signal" ] && [ -n "$pid" ] && kill "-$signal" "$pid"
  { wait "$group"; } 2>"$dir/wait"
  got=$?
  { kill -KILL -- "-$group"; } 2>/dev/null        # children that it left, in its group

  while read -t 0 -u 8; do
    read -r -t 1 -u 8 line && rest+="$line;"
  done
  if [ $got -eq 137 ] && [ $status -ne 137 ]; then
    trouble+="killed, not at its end after $limit seconds; "
  elif [ $got -ne $status ]; then
    trouble+="exit status $got instead of $status; "
  fi
  [ "$rest" = "$([ "$ending" = caught ] && echo "caught;")" ] || trouble+="wrote '$rest'; "
  stderr_is_fine "$dir/err" || trouble+="stderr is not what it should be; "
  [ -z "$trouble" ] && return 0
  rest=$(head -n 12 "$dir/err" | sed 's/^/    /')
  printf '%s\n' "$state x $ending, round $i, GOROMAXPROCS=${procs[i % 3]}: $trouble" \
    ${rest:+"$rest"}
  return 1
}

# lane FIRST: every other round
lane() {
  local dir=$work/$1 failures=0 i
  mkdir "$dir" && mkfifo "$dir/in" "$dir/out" || return 1
  exec 8<>"$dir/out" 9<>"$dir/in"
  for ((i = $1; i <= count; i += 2)); do
    once "$i" "$dir" || ((++failures < 5)) || break
  done
  return $((failures > 0))
}

lane 1 & one=$!
lane 2 & two=$!
wait $one; failed=$?
wait $two; failed=$((failed | $?))
exit $failed
