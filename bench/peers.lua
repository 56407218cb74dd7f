-- goro beside other ways to run Lua in parallel: tools/lua bench/peers.lua [options]
--
-- Peers are those that can be had as packages: luv's threads and its work queue (lua-luv), and
-- cqueues' threads (lua-cqueues).  Both start a thread of the system, with a Lua state of its
-- own, for each task.  What is not installed is left out.

local usage = [[
usage: tools/lua bench/peers.lua [options]
  --runs N      how often each workload is run (default 5); medians count
  --table FILE  writes the table to FILE as Markdown
  --help        this text
Workloads: start a task and wait for its end; hand a number to a task that waits, and get its
answer; bytes a task that waits keeps resident; four tasks that compute.
]]

local function fib_source() return "local function f(n) if n < 2 then return n end "
  .. "return f(n - 1) + f(n - 2) end return f(31)" end

local function resident()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmRSS:%s+(%d+)")
    if kb then return tonumber(kb) * 1024 end
  end
end

-- How often: what takes long runs less often.
local times = {
  spawn = { goro = 50000, luv = 2000, cqueues = 500 },
  answer = { goro = 100000, luv = 20000, cqueues = 20000 },
  parked = { goro = 20000, luv = 300, cqueues = 300 },
}

local children = { goro = {}, luv = {}, cqueues = {} }

-- --- goro -----------------------------------------------------------------------------------

function children.goro.prepare()
  local goro = require("goro")
  return goro, goro.now
end

function children.goro.spawn(goro, n)
  for i = 1, n do
    local wg = goro.WaitGroup()
    wg:go(function() return i end)
    wg:wait()
  end
end

function children.goro.answer(goro, n)
  local question, answer = goro.chan(), goro.chan()
  goro.go(function() for x in question:range() do answer:send(x + 1) end end)
  for i = 1, n do
    question:send(i)
    assert(answer:recv() == i + 1)
  end
end

function children.goro.parked(goro, n)
  local ready, stop = goro.WaitGroup(), goro.chan()
  for _ = 1, n do
    ready:add(1)
    goro.go(function() ready:done() stop:recv() end)
  end
  ready:wait()
end

function children.goro.compute(goro)
  local wg, source = goro.WaitGroup(), fib_source()
  for _ = 1, 4 do wg:go(function() return load(source)() end) end
  wg:wait()
end

-- --- luv: threads, and its pool of four for answers -----------------------------------------

function children.luv.prepare()
  local uv = require("luv")
  return uv, function() return uv.hrtime() / 1e9 end
end

function children.luv.spawn(uv, n)
  for i = 1, n do uv.new_thread(function(x) return x end, i):join() end
end

function children.luv.answer(uv, n)
  local i, work = 0, nil
  work = uv.new_work(function(x) return x + 1 end, function(x)
    i = i + 1
    assert(x == i + 1)
    if i < n then work:queue(i + 1) end
  end)
  work:queue(1)
  uv.run()
end

function children.luv.parked(uv, n)
  for _ = 1, n do uv.new_thread(function() require("luv").sleep(60000) end) end
  uv.sleep(1000)                       -- (they have no way to say that they wait)
end

function children.luv.compute(uv)
  local threads = {}
  for i = 1, 4 do threads[i] = uv.new_thread(function(s) load(s)() end, fib_source()) end
  for i = 1, 4 do threads[i]:join() end
end

-- --- cqueues: threads with a socket ---------------------------------------------------------

function children.cqueues.prepare()
  local monotime = require("cqueues").monotime
  return require("cqueues.thread"), monotime
end

function children.cqueues.spawn(thread, n)
  for i = 1, n do
    local t = assert(thread.start(function(_, x) return x end, i))
    t:join()
  end
end

function children.cqueues.answer(thread, n)
  local _, peer = thread.start(function(con)
    con:setmode("bn", "bn")
    for line in con:lines() do con:write(math.tointeger(line) + 1, "\n") end
  end)
  peer:setmode("bn", "bn")
  for i = 1, n do
    peer:write(i, "\n")
    assert(math.tointeger(peer:read()) == i + 1)
  end
end

function children.cqueues.parked(thread, n)
  local kept = {}
  for i = 1, n do
    local t, peer = thread.start(function(con) con:write("here\n") con:read() end)
    assert(peer:read() == "here")
    kept[i] = { t, peer }
  end
  return kept
end

function children.cqueues.compute(thread)
  local threads = {}
  for i = 1, 4 do threads[i] = thread.start(function(_, s) load(s)() end, fib_source()) end
  for i = 1, 4 do threads[i]:join() end
end

-- --- one workload in one process ------------------------------------------------------------

local function child(name, workload)
  local peer = children[name]
  local it, now = peer.prepare()
  local n = times[workload] and times[workload][name] or 1
  if workload ~= "parked" then         -- a first round warms up
    if n > 10 then peer[workload](it, n // 10) end
    local start = now()
    peer[workload](it, n)
    print((now() - start) / n)
  else
    local before = resident()
    local kept = peer.parked(it, n)
    print((resident() - before) / n, kept)
  end
  io.stdout:flush()
  os.exit(0, false)                    -- parked threads of peers would be waited for
end

-- --- the table ------------------------------------------------------------------------------

if arg[1] == "--child" then return child(arg[2], arg[3]) end
package.path = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/?.lua;" .. package.path
local support = require("support")
local options = support.options(usage, { runs = "number", table = "string" })
local runs, file = options.runs or 5, options.table
local function measure(name, workload)
  local pipe = assert(io.popen(("'%s/tools/lua' '%s' --child %s %s"):format(
    support.root, arg[0], name, workload)))
  local figure = tonumber((pipe:read("l") or ""):match("^%S+"))
  return pipe:close() and figure or nil
end

local names = { "goro" }
for _, name in ipairs { "luv", "cqueues" } do
  if pcall(children[name].prepare) then names[#names + 1] = name
  else io.stderr:write("peers: ", name, " is not installed\n") end
end

local workloads = {
  { "spawn", "start a task and wait for its end", "%.1f us", 1e6 },
  { "answer", "a question and its answer", "%.1f us", 1e6 },
  { "parked", "bytes a waiting task keeps", "%.0f", 1 },
  { "compute", "four tasks that compute", "%.2f s", 1 },
}
local figures = {}
for run = 1, runs do
  for _, w in ipairs(workloads) do
    for _, name in ipairs(names) do
      local key = w[1] .. name
      figures[key] = figures[key] or {}
      table.insert(figures[key], (measure(name, w[1])))
    end
  end
  io.stderr:write(("peers: run %d of %d\n"):format(run, runs))
end

local out = file and assert(io.open(file, "w")) or io.stdout
out:write("| | ", table.concat(names, " | "), " |\n|", (" --- |"):rep(#names + 1), "\n")
for _, w in ipairs(workloads) do
  local cells, base = {}, nil
  for i, name in ipairs(names) do
    local list = figures[w[1] .. name]
    table.sort(list)
    local median = list[(#list + 1) // 2]
    base = base or median
    cells[i] = not median and "-" or w[3]:format(median * w[4])
      .. (i > 1 and base and (" (%.1f times)"):format(median / base) or "")
  end
  out:write("| ", w[2], " | ", table.concat(cells, " | "), " |\n")
end
if file then out:close() end
