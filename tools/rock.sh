#!/usr/bin/env bash
# Builds goro as LuaRocks does, from a copy, into a tree of its own and without any server;
# then uses it from another directory with that tree's paths alone.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
tree=$tmp/tree
mkdir "$tmp/goro" "$tmp/home" "$tmp/server" "$tmp/elsewhere"
cp -R bin src lua goro-scm-1.rockspec "$tmp/goro"

incdir=${LUA_INCDIR:-$(pkg-config --variable=includedir lua5.4 2>/dev/null || true)}
for dir in "$incdir" "$incdir/lua5.4" /usr/include/lua5.4; do
  if [ -f "$dir/lua.h" ]; then incdir=$dir; break; fi
done

if ! (cd "$tmp/goro" && env -u LUA_PATH -u LUA_CPATH HOME="$tmp/home" \
    luarocks --lua-version=5.4 --tree="$tree" --only-server="$tmp/server" \
    make --deps-mode=none goro-scm-1.rockspec \
    CC="${CC:-cc}" LD="${CC:-cc}" LUA_INCDIR="$incdir" > "$tmp/log" 2>&1); then
  cat "$tmp/log"
  echo "rock: luarocks make failed" >&2
  exit 1
fi
if grep -n 'warning:' "$tmp/log"; then
  echo "rock: the plain build has warnings" >&2
fi

# LuaRocks passes no flags, so what is not declared hidden is exported from here.
exported=$(nm -D --defined-only "$tree/lib/lua/5.4/goro/core.so" | \
  grep -vc " luaopen_goro" || true)
if [ "$exported" -ne 0 ]; then
  echo "rock: core.so exports $exported internal symbols (a header without 'visibility push')" >&2
  exit 1
fi

names=$(sed -n 's/^    \["\(goro[^"]*\)"\] = .*/\1/p' goro-scm-1.rockspec)
cd "$tmp/elsewhere"
clean=(env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 -u LUA_INIT -u LUA_INIT_5_4 -u LD_PRELOAD
  LUA_PATH="$tree/share/lua/5.4/?.lua;$tree/share/lua/5.4/?/init.lua"
  LUA_CPATH="$tree/lib/lua/5.4/?.so" timeout -k 10 60)
"${clean[@]}" "$tree/bin/goro-top" --help | grep -q goro-top
# shellcheck disable=SC2086  # the names are arguments
"${clean[@]}" "${LUA:-lua5.4}" - $names <<'END'
local goro = require "goro"
for _, name in ipairs(arg) do
  assert(package.searchpath(name, package.path) or package.searchpath(name, package.cpath))
end
local ch = goro.chan()
goro.go(function () ch:send("hello from the rock") end)
local text, ok = ch:recv()
assert(ok and text == "hello from the rock")
print(("rock: goro %s, %d modules"):format(goro.version, #arg))
END
