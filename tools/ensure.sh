#!/usr/bin/env bash
# ensure.sh run|test|ci|docs: installs what is missing, through apt where this runs as root on a
# Debian-like system; elsewhere says what to install and fails.  Where nothing is missing, no
# package manager is touched.
set -euo pipefail

level=${1:-}
case $level in
  run | test | ci | docs) ;;
  *) echo "usage: tools/ensure.sh run|test|ci|docs" >&2; exit 2 ;;
esac
lua=${LUA:-lua5.4}
cc=${CC:-cc}

# shellcheck disable=SC2317  # the tests below are called through need
has_command () { command -v "${1%% *}" > /dev/null 2>&1; }

is_lua54 () {
  has_command "$lua" && [ "$("$lua" -e 'io.write(_VERSION)' 2>/dev/null)" = "Lua 5.4" ]
}

has_headers () {
  if [ -n "${LUA_INCDIR:-}" ]; then [ -f "$LUA_INCDIR/lua.h" ]; return; fi
  [ -f /usr/include/lua5.4/lua.h ] || pkg-config --exists lua5.4 2>/dev/null
}

has_server () { has_command "$1" || [ -x "/usr/sbin/$1" ]; }

has_compiler () { has_command "$cc" && [ -e /usr/include/stdio.h ]; }

has_module () { is_lua54 && "$lua" -e "require '$1'" > /dev/null 2>&1; }

has_discount () { compgen -G '/usr/lib/*/lua/5.1/discount.so' > /dev/null; }

has_sanitizer () { [ "$(gcc -print-file-name="lib$1.so" 2>/dev/null)" != "lib$1.so" ]; }

has_fuzzer () {
  echo 'int LLVMFuzzerTestOneInput (const unsigned char *p, unsigned long n) { return p && n; }' |
    clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null
}

need () {                                   # need package description test...
  local package=$1 description=$2
  shift 2
  if ! "$@"; then missing+=("$package"); what+=("$description"); fi
}

# Fills `missing` (packages) and `what` (the same for people).
look () {
  missing=() what=()
  if [ "$level" = docs ]; then
    need lua5.4 "Lua 5.4 ($lua)" is_lua54
    need lua-ldoc "LDoc" has_command ldoc
    need lua-discount "the Discount library for LDoc's Lua" has_discount
    return 0
  fi
  need gcc "a C compiler ($cc)" has_compiler
  need libc6-dev "the C library's headers" test -e /usr/include/stdio.h
  need make "GNU make" has_command make
  need lua5.4 "Lua 5.4 ($lua)" is_lua54
  need liblua5.4-dev "Lua 5.4's headers (lua.h; or set LUA_INCDIR)" has_headers
  [ "$level" != run ] || return 0
  need lua-busted "busted for Lua 5.4" has_module busted.core
  need luarocks "LuaRocks" has_command luarocks
  need lua-cjson "lua-cjson for Lua 5.4" has_module cjson
  need lua-penlight "Penlight for Lua 5.4" has_module pl.path
  need lua-dkjson "dkjson for Lua 5.4" has_module dkjson
  need lua-lpeg "LPeg for Lua 5.4" has_module lpeg
  need lua-socket "LuaSocket for Lua 5.4" has_module socket
  need lua-sql-sqlite3 "LuaSQL's SQLite driver for Lua 5.4" has_module luasql.sqlite3
  need lua-sec "LuaSec for Lua 5.4" has_module ssl
  need lua-redis "lua-redis" test -e /usr/share/lua/5.3/redis.lua
  need redis-server "a Redis server" has_command redis-server
  need lua-nginx-memcached "lua-nginx-memcached" test -e /usr/share/lua/5.1/nginx/memcached.lua
  need memcached "a memcached server" has_command memcached
  need nginx-light "nginx" has_server nginx
  need openssl "openssl" has_command openssl
  need lua-filesystem "LuaFileSystem for Lua 5.4" has_module lfs
  need lua-luv "luv for Lua 5.4" has_module luv
  [ "$level" != test ] || return 0
  need gcc "gcc, for the sanitizers" has_command gcc
  need gcc "gcc's AddressSanitizer" has_sanitizer asan
  need gcc "gcc's ThreadSanitizer" has_sanitizer tsan
  need binutils "nm" has_command nm
  need clang "clang" has_command clang
  need libclang-rt-dev "clang's libFuzzer" has_fuzzer
  need valgrind "valgrind" has_command valgrind
  need lua-check "luacheck" has_command luacheck
  need cppcheck "cppcheck" has_command cppcheck
  need clang-tidy "clang-tidy" has_command clang-tidy
  need spin "spin, for the models" has_command spin
}

look
[ "${#missing[@]}" -gt 0 ] || exit 0

packages=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
packages=${packages% }
if [ "$(id -u)" -eq 0 ] && has_command apt-get && [ -e /etc/debian_version ]; then
  echo "ensure: installing $packages"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # a list of packages
  { apt-get update -qq &&
    apt-get install -y -qq --no-install-recommends $packages; } > /dev/null ||
    echo "ensure: apt-get failed" >&2
  look
  [ "${#missing[@]}" -gt 0 ] || exit 0
fi

{
  echo "goro: to $level, this is missing:"
  printf '  %s\n' "${what[@]}"
  echo "On Debian or Ubuntu, as root:"
  echo "  apt-get install $packages"
} >&2
exit 1
