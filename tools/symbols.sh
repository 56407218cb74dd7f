#!/usr/bin/env bash
# symbols.sh core.so: fails if the library exports anything but luaopen_goro*.
set -euo pipefail

exported=$(nm -D --defined-only "$1" | awk '{ print $NF }')
if ! grep -q '^luaopen_goro_core$' <<< "$exported"; then
  echo "symbols: $1 does not export luaopen_goro_core" >&2
  exit 1
fi
if others=$(grep -v '^luaopen_goro' <<< "$exported"); then
  echo "symbols: $1 also exports:"
  echo "$others"
  exit 1
fi
echo "symbols: $1 exports $(tr '\n' ' ' <<< "$exported")"
