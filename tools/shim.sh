#!/usr/bin/env bash
# shim.sh asan|tsan|valgrind: writes build/<tool>/bin/lua5.4, which runs $LUA under that tool.
# tools/lua puts it first on the PATH, so that what specs start runs under the tool as well.
set -euo pipefail

kind=$1
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$root/build/$kind
lua=$(command -v "${LUA:-lua5.4}")
nodlclose=$root/build/nodlclose.so
more=
if [ "$kind" = tsan ]; then more=" $root/build/tsanjmp.so"; fi

case $kind in
  asan | tsan)
    library=$("${SAN_CC:-gcc}" -print-file-name="lib$kind.so")
    command="LD_PRELOAD='$library $nodlclose$more' exec -a lua5.4 '$lua'"
    ;;
  valgrind)
    command="LD_PRELOAD='$nodlclose' exec valgrind -q --log-file='$dir/log.%p' \\
  --error-exitcode=66 --leak-check=full --show-leak-kinds=definite \\
  --errors-for-leak-kinds=definite --num-callers=25 --fair-sched=yes \\
  --suppressions='$root/tools/valgrind.supp' \$VALGRIND_MORE '$lua'"
    ;;
  *)
    echo "shim.sh: unknown tool '$kind'" >&2
    exit 2
    ;;
esac

mkdir -p "$dir/bin"
printf '#!/usr/bin/env bash\n%s "$@"\n' "$command" > "$dir/bin/lua5.4"
chmod +x "$dir/bin/lua5.4"
