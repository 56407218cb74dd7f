-- Trees of contexts that end while goroutines wait under them, and contexts as time-outs: who
-- waits is woken once, with the reason of the context's end; a value is not lost; short-lived
-- children leave no memory: tests/stress/context.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local context = require("goro.context")
local harness = require("harness")

local CROWD, EACH = 8, 60

-- A random context below `ctx`.
local function below(ctx)
  local r = math.random(4)
  if r == 1 then return context.with_timeout(ctx, math.random() * 0.003) end
  if r == 2 then return context.with_value(context.with_cancel(ctx), "depth", r) end
  if r == 3 then return below(context.with_cancel(ctx)) end
  return context.with_cancel(ctx)
end

-- Values from senders to receivers, each under contexts that end at random.
local function traffic(seed)
  local root, cancel = context.with_cancel()
  local ch = goro.chan(seed % 3)
  local sent, got, ended = goro.Atomic(), goro.Atomic(), goro.Atomic()
  harness.crowd(2 * CROWD, seed, function(i)
    for j = 1, EACH do
      local ctx = below(root)
      if i <= CROWD then
        local ok, why = ch:try_send(i * EACH + j, ctx)
        if ok then sent:add(i * EACH + j) else assert(why == ctx:err(), why) end
      else
        local v, ok, why
        if j % 2 == 0 then
          v, ok, why = ch:recv(ctx)
        else
          local n
          n, v, ok = goro.select { ch, timeout = ctx }
          if not n then why = v end
        end
        if ok then got:add(v) else assert(why and why == ctx:err(), why) end
      end
      if math.random(200) == 1 then cancel(i) end
      harness.linger()
    end
    if ended:add(1) == CROWD then cancel() end     -- else some would wait for ever
  end)
  for _ = 1, #ch do got:add((ch:recv())) end
  assert(sent:load() == got:load(), "a value was lost, or came twice")
end

-- Locks under contexts: never held by two, never lost.
local function locks(seed)
  local root, cancel = context.with_cancel()
  local mu, inside = goro.Mutex(), goro.Atomic()
  harness.crowd(CROWD, seed, function(i)
    for _ = 1, EACH do
      local ctx = below(root)
      local guard <close>, why = mu:lock(ctx)
      if guard then
        assert(inside:add(1) == 1, "two inside")
        harness.linger()
        inside:add(-1)
      else
        assert(why == ctx:err(), why)
      end
      if math.random(300) == 1 then cancel(i) end
    end
  end)
  assert(mu:try_lock(), "left locked")
end

-- A tree is made by many, then ended; all in it are done at that moment.
local function tree(seed)
  local root, cancel = context.with_cancel()
  local out = goro.chan(CROWD)
  harness.crowd(CROWD, seed, function()
    local all = { root }
    for i = 2, EACH do all[i] = below(all[math.random(#all)]) end
    out:send(all)
  end)
  local wg = goro.WaitGroup()
  for _ = 1, CROWD do
    local all = out:recv()
    for i = 1, #all, 7 do
      wg:go(function(ctx) assert(ctx:done():recv() == nil and ctx:err()) end, all[i])
    end
    out:send(all)
  end
  cancel("why")
  for _ = 1, CROWD do
    for _, ctx in ipairs((out:recv())) do
      assert(ctx:err())
      assert(ctx:cause() == "why" or ctx:cause() == context.DeadlineExceeded)
    end
  end
  wg:wait()
end

local function deep()
  local root, cancel = context.with_cancel()
  local ctx = root
  for _ = 1, 100000 do ctx = context.with_cancel(ctx) end
  cancel()
  assert(ctx:err() == context.Canceled)
end

local function memory()
  local file = io.open("/proc/self/statm")
  if not file then return 0 end
  local pages = tonumber(file:read("a"):match("^%d+ (%d+)"))
  file:close()
  return pages * 4096
end

local function million()
  local root = context.with_cancel()
  local before
  for i = 1, 1000000 do
    local ctx, cancel = context.with_timeout(root, 1000)
    if i % 2 == 0 then cancel() elseif i % 4 == 1 then ctx:done() end
    if i == 200000 then
      collectgarbage()
      before = memory()
    end
  end
  collectgarbage()
  assert(memory() - before < 20e6, memory() - before)
end

harness.run("context", function(seed)
  if seed % 1000003 == 1 and not os.getenv("GOROBUILD") then
    deep()
    collectgarbage()
    million()
  end
  traffic(seed)
  locks(seed)
  tree(seed)
end)
