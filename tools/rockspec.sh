#!/usr/bin/env bash
# Writes goro-scm-1.rockspec with the files present in src/ and lua/goro/; with --check, fails
# if it differs from what would be written.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

spec=goro-scm-1.rockspec

sources () {
  local file
  for file in src/*.c; do echo "        \"$file\","; done
}

modules () {
  local file name
  find lua -name '*.lua' | sort | while read -r file; do
    name=${file#lua/}
    name=${name%.lua}
    name=${name%/init}
    echo "    [\"${name//\//.}\"] = \"$file\","
  done
}

rockspec () {
  cat <<'END'
-- The lists in `build` are written by tools/rockspec.sh.
rockspec_format = "3.0"
package = "goro"
version = "scm-1"

source = {
  url = "git+https://github.com/goro-lua/goro.git",
}

description = {
  summary = "Goroutines, channels and select for Lua 5.4, on all processors",
  detailed = [[
goro brings Go's concurrency to stock Lua 5.4: goroutines that run in parallel on all
processors, channels, select, WaitGroups, mutexes, timers and contexts.  A goroutine may
block anywhere a Lua function may run, and one that computes for long is preempted.
]],
  homepage = "https://github.com/goro-lua/goro",
  issues_url = "https://github.com/goro-lua/goro/issues",
  license = "MIT",
  labels = { "concurrency", "parallel", "threads", "async", "goroutines", "channels" },
}

supported_platforms = { "linux" }

dependencies = {
  "lua >= 5.4, < 5.5",
}

test_dependencies = {
  "busted >= 2.1",
}

test = {
  type = "busted",
}

build = {
  type = "builtin",
  modules = {
    ["goro.core"] = {
      sources = {
END
  sources
  cat <<'END'
      },
      libraries = { "pthread" },
    },
END
  modules
  cat <<'END'
  },
  install = {
    bin = { ["goro-top"] = "bin/goro-top" },
  },
}
END
}

if [ "${1:-}" = --check ]; then
  if ! rockspec | diff -u "$spec" -; then
    echo "rockspec: $spec is out of date; run: make rockspec" >&2
    exit 1
  fi
else
  rockspec > "$spec"
fi
