#!/bin/sh
# layers.sh: fails if a file in src/ includes a header of a higher layer, or Lua's headers
# outside layers 5 and 6.  `layers.sh core` lists the .c files of layers 0 to 4.
# A new file is added to the table under the name before its dot; * stands for any letters.
table='
0 platform atomics debug poison chaos fault ossignal sock process
1 list heap buf hash lock note big slab depot arena
2 g runq chunks paths timers netpoll netpoll_* msg class result
3 sched forked world stats trace tracefile proc m guest park waitq handoff sysmon host
4 chan select waitgroup task mutex rwmutex sync smap alarm fdwait context errgroup sigchan conn lookup
5 tame report tracename profile service leaks hostlook argerr check code handle lazy stdlibs state rom image fit modimage verify start run costate marshal plain encode encode_* unmarshal unmarshal_* classes proto modref
6 lua_*
'
cd "$(dirname "$0")/.." || exit 2
mode=${1:-check}
set -- src/*.[ch]

# shellcheck disable=SC2016
printf '%s' "$table" | awk -v mode="$mode" '
function layer(file,   i) {                   # of "src/chan.c" or "chan.h"; -1 if unknown
  sub(/.*\//, "", file); sub(/\.[ch]$/, "", file)
  if (file in exact) return exact[file]
  for (i = 1; i <= globs; i++) if (file ~ glob[i]) return globlayer[i]
  return -1
}
function fail(text) { print "layers: " text > "/dev/stderr"; bad = 1 }
FILENAME == "-" {
  for (i = 2; i <= NF; i++)
    if ($i !~ /\*/) exact[$i] = $1
    else { glob[++globs] = "^" $i "$"; gsub(/\*/, ".*", glob[globs]); globlayer[globs] = $1 }
  next
}
FNR == 1 { mine = layer(FILENAME) }
mode == "core" || mine < 0 { next }
/^[ \t]*#[ \t]*include[ \t]*[<"](lua|lauxlib|lualib)\.h[>"]/ {
  if (mine < 5 || mine > 6) fail(FILENAME ":" FNR ": layer " mine " must not know Lua")
  next
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
  split($0, part, "\""); other = layer(part[2])
  if (other < 0) fail(FILENAME ":" FNR ": " part[2] " is not in the table of tools/layers.sh")
  else if (other > mine)
    fail(FILENAME ":" FNR ": layer " mine " includes " part[2] " of layer " other)
}
END {
  for (i = 2; i < ARGC; i++) {
    mine = layer(ARGV[i])
    if (mine < 0) fail(ARGV[i] " is not in the table of tools/layers.sh")
    else if (mode == "core" && mine <= 4 && ARGV[i] ~ /\.c$/) print ARGV[i]
  }
  if (!bad && mode == "check") print "layers: " ARGC - 2 " files, arrows point down"
  exit bad
}
' - "$@"
