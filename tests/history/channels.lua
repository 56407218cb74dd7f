--- Random programs over a few channels, run with every operation logged, and a check of the log.
--
-- A program is data: { caps = {0, 2}, bodies = { {op, op, ...}, ... } }, one body a goroutine.
-- An op is { kind, channel [, ...] }:
--   {"send", c} {"try_send", c, seconds} {"recv", c} {"try_recv", c, seconds} {"close", c}
--   {"select", {send or recv, c}, ..., [default = true | timeout = seconds]}
--   {"yield"} {"sleep", seconds}
-- Each value sent is unique: number of the goroutine * 1000 + number of the op.
--
-- A log record is { g, kind, c, v, from, to [, ok] }: 'from' and 'to' are ticks of one shared
-- counter, so that a.to < b.from means that a had returned before b was called.

local goro = require("goro")

local M = {}

--- A random program of at most `goroutines` bodies of at most `length` ops.
function M.random(goroutines, length)
  local program = { caps = {}, bodies = {} }
  local nchannels = math.random(3)
  for i = 1, nchannels do program.caps[i] = ({ 0, 0, 1, 2, 5 })[math.random(5)] end
  local function channel() return math.random(nchannels) end
  local function moment() return math.random() * 0.0002 end
  local function way() return math.random(2) == 1 and "send" or "recv" end
  for g = 1, math.random(2, goroutines) do
    local body = {}
    local taste = math.random(3)                   -- a sender, a receiver, or both
    for i = 1, math.random(length) do
      local r = math.random(40)
      local kind = taste == 1 and "send" or taste == 2 and "recv" or way()
      if r <= 20 then
        body[i] = { kind, channel() }
      elseif r <= 24 then
        body[i] = { "try_" .. kind, channel(), 0 }
      elseif r <= 26 then
        body[i] = { "try_" .. kind, channel(), moment() }
      elseif r <= 34 then
        local op = { "select" }
        for k = 1, math.random(3) do op[k + 1] = { way(), channel() } end
        local limit = math.random(4)
        if limit == 1 then op.default = true end
        if limit == 2 then op.timeout = moment() end
        body[i] = op
      elseif r <= 37 then
        body[i] = { "yield" }
      elseif r <= 39 then
        body[i] = { "sleep", moment() }
      else
        body[i] = { "close", channel() }
      end
    end
    program.bodies[g] = body
  end
  return program
end

--- What one goroutine does; its log goes to `out`.
local function perform(g, body, chans, clock, out)
  local log = {}
  local closed = "send on closed channel"
  local function note(kind, c, v, from, ok)
    log[#log + 1] = { g = g, kind = kind, c = c, v = v, from = from, to = clock:add(1), ok = ok }
  end
  local function is_closed(ok, err)
    if not ok and not tostring(err):find(closed, 1, true) then error(err, 0) end
    return not ok
  end
  for i, op in ipairs(body) do
    local kind, c = op[1], op[2]
    local v = g * 1000 + i
    local from = clock:add(1)
    if kind == "send" then
      local shut = is_closed(pcall(chans[c].send, chans[c], v))
      note(shut and "send closed" or "send", c, v, from)
    elseif kind == "try_send" then
      local fine, sent = pcall(chans[c].try_send, chans[c], v, op[3])
      local shut = is_closed(fine, sent)
      note(shut and "send closed" or sent and "send" or "send none", c, v, from, op[3] == 0)
    elseif kind == "recv" or kind == "try_recv" then
      local got, ok
      if kind == "recv" then got, ok = chans[c]:recv() else got, ok = chans[c]:try_recv(op[3]) end
      local what = ok and "recv" or ok == false and "recv closed" or "recv none"
      note(what, c, got, from, op[3] == 0)
    elseif kind == "close" then
      note(pcall(chans[c].close, chans[c]) and "close" or "close again", c, nil, from)
    elseif kind == "select" then
      local cases = { default = op.default, timeout = op.timeout }
      for k = 2, #op do
        local ch = chans[op[k][2]]
        cases[k - 1] = op[k][1] == "send" and { send = ch, value = v } or { recv = ch }
      end
      local fine, n, got, ok = pcall(goro.select, cases)
      if is_closed(fine, n) then
        note("select closed", nil, v, from)
      elseif n == nil then
        note("select none", nil, nil, from)
      else
        local case = op[n + 1]
        if case[1] == "send" then note("send", case[2], v, from)
        else note(ok and "recv" or "recv closed", case[2], got, from) end
      end
    elseif kind == "yield" then
      goro.yield()
    elseif kind == "sleep" then
      goro.sleep(op[2])
    end
    log.done = i
  end
  out:send({ g = g, log = log })
end

--- Runs the program.  When nobody can go on the main script notes the moment, closes what is
--- open, and takes what is left in the channels.
---@return table log, table still { [goroutine] = op it was blocked in }, integer quiet the moment
function M.run(program)
  local n = #program.bodies
  local clock, chans, out = goro.Atomic(), {}, goro.chan(n)
  for c, cap in ipairs(program.caps) do chans[c] = goro.chan(cap) end
  for g, body in ipairs(program.bodies) do goro.go(perform, g, body, chans, clock, out) end
  local ok, err = pcall(goro.select, {})           -- until all are blocked or have ended
  if ok or not tostring(err):find("deadlock", 1, true) then error(err, 0) end
  local quiet = clock:add(1)
  local ended = #out
  local log = {}
  for c, ch in ipairs(chans) do
    local from = clock:add(1)
    if pcall(ch.close, ch) then
      log[#log + 1] = { g = 0, kind = "close", c = c, from = from, to = clock:add(1) }
    end
  end
  local logs = {}
  for _ = 1, n do
    local piece = out:recv(10)
    if not piece then error("a goroutine was not woken by the close of what it waits on", 0) end
    logs[piece.g] = piece.log
  end
  for c, ch in ipairs(chans) do
    repeat
      local from = clock:add(1)
      local v, more = ch:recv()
      log[#log + 1] = { g = 0, kind = more and "recv" or "recv closed", c = c, v = v, from = from,
        to = clock:add(1) }
    until not more
  end
  local still = {}
  for g = 1, n do
    for _, r in ipairs(logs[g]) do
      log[#log + 1] = r
      if r.from < quiet and r.to > quiet then still[#still + 1] = r end
    end
  end
  return log, still, quiet, ended
end

local function say(r)
  return ("%d-%d g%d %s c%s %s"):format(r.from, r.to, r.g, r.kind, r.c or "?", r.v or "")
end

-- The blocked operations at the quiet moment: was one of them to be woken?  What was blocked in
-- a select is told by its program.
local function check_quiet(program, log, still, quiet)
  local fill, shut = {}, {}
  for c in ipairs(program.caps) do fill[c] = 0 end
  for _, r in ipairs(log) do
    if r.to < quiet and r.kind == "send" then fill[r.c] = fill[r.c] + 1 end
    if r.to < quiet and r.kind == "recv" then fill[r.c] = fill[r.c] - 1 end
    if r.to < quiet and r.kind == "close" then shut[r.c] = true end
  end
  local senders, receivers = {}, {}
  local function wants(g, way, c)
    local list = way == "send" and senders or receivers
    list[c] = list[c] or {}
    list[c][g] = true
  end
  for _, s in ipairs(still) do
    local op = s.op
    if op[1] == "select" then
      for k = 2, #op do wants(s.g, op[k][1], op[k][2]) end
    else
      wants(s.g, op[1]:gsub("try_", ""), op[2])
    end
  end
  for c, cap in ipairs(program.caps) do
    local s, r = senders[c] or {}, receivers[c] or {}
    if shut[c] and (next(s) or next(r)) then return ("blocked on closed channel %d"):format(c) end
    if fill[c] > cap then return ("channel %d holds %d of %d"):format(c, fill[c], cap) end
    if next(r) and fill[c] > 0 then return ("a receiver sleeps, channel %d holds values"):format(c) end
    if next(s) and fill[c] < cap then return ("a sender sleeps, channel %d has room"):format(c) end
    for a in pairs(s) do
      for b in pairs(r) do
        if a ~= b then return ("goroutines %d and %d sleep, channel %d"):format(a, b, c) end
      end
    end
  end
end

--- What is wrong with a log; nil: nothing.
function M.check(program, log)
  local sends, recvs, closes, shuts = {}, {}, {}, {}
  local got = {}
  for c in ipairs(program.caps) do sends[c], recvs[c], shuts[c] = {}, {}, {} end
  for _, r in ipairs(log) do
    if r.kind == "send" then
      table.insert(sends[r.c], r)
    elseif r.kind == "recv" then
      if r.v == nil then return "nil from nowhere: " .. say(r) end
      if got[r.v] then return ("twice: %s and %s"):format(say(got[r.v]), say(r)) end
      got[r.v] = r
      table.insert(recvs[r.c], r)
    elseif r.kind == "close" then
      if closes[r.c] then return "closed twice: " .. say(r) end
      closes[r.c] = r
    elseif r.kind == "recv closed" then
      table.insert(shuts[r.c], r)
    end
  end
  for c, cap in ipairs(program.caps) do
    local sent = {}
    for _, s in ipairs(sends[c]) do
      sent[s.v] = s
      local r = got[s.v]
      if not r then return "lost: " .. say(s) end
      if r.c ~= c then return ("sent %s, received %s"):format(say(s), say(r)) end
      if r.to < s.from then return ("received before it was sent: %s, %s"):format(say(s), say(r)) end
      if cap == 0 and s.to < r.from then
        return ("unbuffered, but sent before received: %s, %s"):format(say(s), say(r))
      end
      if closes[c] and s.from > closes[c].to then return "sent after close: " .. say(s) end
    end
    for _, r in ipairs(recvs[c]) do
      if not sent[r.v] then return "from nowhere: " .. say(r) end
    end
    for _, a in ipairs(sends[c]) do                -- first in, first out
      for _, b in ipairs(sends[c]) do
        if a.to < b.from and got[b.v].to < got[a.v].from then
          return ("overtaken: %s by %s"):format(say(a), say(b))
        end
      end
    end
    for _, r in ipairs(shuts[c]) do
      if not closes[c] or r.to < closes[c].from then return "not closed yet: " .. say(r) end
      for _, s in ipairs(sends[c]) do
        if s.to < r.from and got[s.v].from > r.to then
          return ("closed while it holds %s: %s"):format(say(s), say(r))
        end
      end
    end
    -- what is in the channel for certain, or at most, at some moment
    local function certainly(at)
      local n = 0
      for _, s in ipairs(sends[c]) do
        if s.to <= at and got[s.v].from > at then n = n + 1 end
      end
      return n
    end
    for _, s in ipairs(sends[c]) do
      if certainly(s.to) > cap then return ("more than %d values after %s"):format(cap, say(s)) end
    end
    for _, r in ipairs(log) do
      if r.c == c and r.ok and r.kind == "recv none" then
        for _, s in ipairs(sends[c]) do
          if s.to < r.from and got[s.v].from > r.to then
            return ("found nothing, but there was %s: %s"):format(say(s), say(r))
          end
        end
      elseif r.c == c and r.ok and r.kind == "send none" then
        local most = 0
        for _, s in ipairs(sends[c]) do
          if s.from < r.to and got[s.v].to > r.from then most = most + 1 end
        end
        if most < cap then return "found no room: " .. say(r) end
        if closes[c] and closes[c].to < r.from then return "did not see the close: " .. say(r) end
      end
    end
  end
end

--- Runs a program once and checks it: nil, or what is wrong.
function M.try(program)
  local ok, log, still, quiet = pcall(M.run, program)
  if not ok then return tostring(log) end
  for _, r in ipairs(still) do                     -- the op that the record is of
    local n = 0
    for _, x in ipairs(log) do
      if x.g == r.g and x.to <= r.to then n = n + 1 end
    end
    for _, op in ipairs(program.bodies[r.g]) do    -- yields and sleeps leave no record
      if op[1] ~= "yield" and op[1] ~= "sleep" then n = n - 1 end
      if n == 0 then
        r.op = op
        break
      end
    end
  end
  return M.check(program, log) or check_quiet(program, log, still, quiet), log
end

--- The program as text that `load` takes.
function M.text(program)
  local function op(o)
    local parts = {}
    for i = 1, #o do parts[i] = type(o[i]) == "table" and op(o[i]) or ("%q"):format(o[i]) end
    if o.default then parts[#parts + 1] = "default = true" end
    if o.timeout then parts[#parts + 1] = ("timeout = %q"):format(o.timeout) end
    return "{ " .. table.concat(parts, ", ") .. " }"
  end
  local lines = { "{ caps = { " .. table.concat(program.caps, ", ") .. " }, bodies = {" }
  for _, body in ipairs(program.bodies) do
    local parts = {}
    for i, o in ipairs(body) do parts[i] = op(o) end
    lines[#lines + 1] = "  { " .. table.concat(parts, ", ") .. " },"
  end
  lines[#lines + 1] = "} }"
  return table.concat(lines, "\n")
end

return M
