#!/usr/bin/env bash
# matrix.sh prefix...: the whole suite with each Lua (prefix/bin/lua, prefix/include), on 1 and 8
# P's, with images and without, and with a collector that hardly rests.  Lua built with
# -DLUA_USE_APICHECK checks each call of ours; built with -fsanitize=address or thread it lets the
# sanitizer see what Lua itself does (then MATRIX_FLAGS="-fsanitize=..." for goro, too).
#
# The API checks of Lua 5.4.0 to 5.4.3 refuse what is right: a pcall, or any function that calls
# protected, in a __close that coroutine.close runs ("cannot do calls on non-normal thread"; the
# stock pcall, too).  With these leave out the specs that do so, by SPECS.
#
#   SPECS=spec/chan_spec.lua   some specs only       MATRIX="plain gc"   some of the columns only
#
# How to get such a Lua from Debian's sources, with deb-src lines in the sources list:
#   apt-get source lua5.4 && cd lua5.4-*/src && gcc -std=gnu99 -g -O1 -DLUA_USE_LINUX -DLUA_USE_APICHECK \
#     -fsanitize=address -o PREFIX/bin/lua $(ls *.c | grep -v luac.c) -lm -ldl -Wl,-E; and its headers
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,17p' "$0"; exit 2; }

columns=${MATRIX:-plain noimage gc}
here=$PWD
status=0
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT

for prefix in "$@"; do
  lua=$(readlink -f "$prefix/bin/lua")
  name=$("$lua" -e 'io.write((_VERSION))' 2>/dev/null)/$(basename "$prefix")
  dir=$base/$(basename "$prefix")
  mkdir -p "$dir/goro" "$dir/bin"
  # shellcheck disable=SC2086
  if ! ${CC:-cc} -std=gnu11 -fPIC -pthread -g -O1 -Wall -Wextra -iquote src -I"$prefix/include" \
       ${MATRIX_FLAGS:-} -DGORO_DEBUG -DGORO_FAULTS -include src/fault.h -shared \
       -Wl,--version-script=tools/exports.map \
       -o "$dir/goro/core.so" src/*.c; then
    echo "$name: does not compile"; status=1; continue
  fi
  # Debian's busted and its C modules find their way into any Lua that exports its symbols
  printf '#!/bin/sh\nexec %s "$@"\n' "$lua" > "$dir/bin/lua5.4"
  chmod +x "$dir/bin/lua5.4"
  ln -s lua5.4 "$dir/bin/lua"
  for column in $columns; do
    env=() limit=900
    case $column in
      plain) env=(GOROMAXPROCS=2) ;;
      one) env=(GOROMAXPROCS=1) ;;
      eight) env=(GOROMAXPROCS=8) ;;
      noimage) env=(GOROMAXPROCS=2 GOROIMAGE=0) ;;
      gc)                                      # (a test with deep tables takes minutes)
        env=(GOROMAXPROCS=2 GOROGC=10 GOROLIMIT=300 GOROTESTLIMIT=900)
        limit=2400
        ;;
    esac
    log=$dir/log.$column
    # shellcheck disable=SC2086
    if env "${env[@]}" PATH="$dir/bin:$PATH" LUA="$lua" GOROBUILD= GOROCORE="$dir/?.so" \
       LUA_INCDIR="$prefix/include" \
       LUA_PATH="$here/lua/?.lua;$here/lua/?/init.lua;;/usr/share/lua/5.4/?.lua;/usr/share/lua/5.4/?/init.lua" \
       LUA_CPATH="$dir/?.so;/usr/lib/$(gcc -print-multiarch)/lua/5.4/?.so;/usr/local/lib/lua/5.4/?.so;;" \
       timeout "$limit" "$lua" tools/busted.lua --ignore-lua \
       --exclude-tags="lifecycle,valgrind${MATRIX_EXCLUDE:+,$MATRIX_EXCLUDE}" ${SPECS:-} > "$log" 2>&1
    then verdict=ok
    else verdict=FAILED; status=1; cp "$log" "build/matrix.$(basename "$prefix").$column.log"
    fi
    echo "$name $column: $verdict: $(grep -E '^[0-9]+ success' "$log" | tail -n 1)"
  done
done
exit $status
