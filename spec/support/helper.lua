--- Busted runs this before any spec (.busted names it): every test has a time limit, and fails
--- on a panic, on goroutines it leaves behind, on a deadlock: goro's `require "goro.busted"`.

-- Seconds after which a test that has not ended is given up, and the whole run with it.
local limit = tonumber(os.getenv("GOROTESTLIMIT")) or 120

-- Before that the test is stopped from inside, which shows all stacks; not in the chaos build,
-- where the thread that keeps the time would be one more to draw.  luassert stays out of
-- goroutines: it would be a goro.init, with which modules are not part of images.
local chaos = os.getenv("GOROBUILD") == "chaos"
require("goro.busted").setup {
  timeout = not chaos and limit * 3 / 4, grace = 20, strict = true, asserts = false,
}

-- A process beside this one hears of each test's begin and end; when the end does not come it
-- names the test and kills.  Nothing inside a process can watch over a hang of its own threads.
local watchdog = [[
while read -r what name; do
  while [ "$what" = begin ]; do
    read -r -t "$0" what next
    status=$?
    if [ $status -gt 128 ]; then
      echo "no end after $0 s: $name" >&2
      kill -QUIT $PPID
      sleep 1
      kill -KILL $PPID
    fi
    if [ $status -ne 0 ]; then exit; fi
    name=$next
  done
done
]]

local busted = require("busted")
local quoted = "'" .. watchdog:gsub("'", "'\\''") .. "'"
local pipe = assert(io.popen(("exec bash -c %s %d"):format(quoted, limit), "w"))
pipe:setvbuf("line")
busted.subscribe({ "test", "start" }, function(element)
  pipe:write("begin ", (tostring(element.name):gsub("%c", " ")), "\n")
  return nil, true
end)
busted.subscribe({ "test", "end" }, function()
  pipe:write("end\n")
  return nil, true
end)
