--- goro.profile: where CPU time goes, in all goroutines.  Go's runtime/pprof, as a flame graph.
--
-- Samples are taken and counted in C (src/profile.c); this file writes them down.

local part = require("goro.core")("goro.profiler")

local M = {}

--- Starts sampling the Lua stack of whatever runs, in all goroutines and the main script.
--- `hz` samples for each second of CPU time, 1 to 1000; 100 unless given.
---@type fun(hz?: integer): true?, string?
M.start = part.start

-- ---------------------------------------------------------------- stacks

local function split(stack)
  local frames = {}
  for frame in stack:gmatch("[^;]+") do frames[#frames + 1] = frame end
  return frames
end

-- One function is called by several names ("function" where nobody's Lua called it): in a
-- profile it has one, that under which it was seen most.
local function names(list)
  local seen, best = {}, {}
  for _, s in ipairs(list) do
    for _, frame in ipairs(s.frames) do
      local name, place = frame:match("^(.-) (%(.*:%d+%))$")
      if name and name ~= "function" then
        local counts = seen[place] or {}
        seen[place] = counts
        counts[name] = (counts[name] or 0) + s.count
      end
    end
  end
  for place, counts in pairs(seen) do
    local most
    for name, n in pairs(counts) do
      if not most or n > counts[most] or n == counts[most] and name < most then most = name end
    end
    best[place] = most .. " " .. place
  end
  return best
end

-- The samples as { { stack =, frames =, count = } ... }, in the order of their texts.
local function stacks(text)
  local raw, list, by_stack = {}, {}, {}
  for stack, count in text:gmatch("([^\n]+) (%d+)\n") do
    raw[#raw + 1] = { frames = split(stack), count = math.tointeger(count) }
  end
  local best = names(raw)
  for _, s in ipairs(raw) do
    for i, frame in ipairs(s.frames) do
      s.frames[i] = best[frame:match(" (%(.*:%d+%))$") or ""] or frame
    end
    s.stack = table.concat(s.frames, ";")
    local same = by_stack[s.stack]
    if same then
      same.count = same.count + s.count
    else
      by_stack[s.stack] = s
      list[#list + 1] = s
    end
  end
  table.sort(list, function(a, b) return a.stack < b.stack end)
  return list
end

local function folded(list)
  local lines = {}
  for i, s in ipairs(list) do lines[i] = ("%s %d\n"):format(s.stack, s.count) end
  return table.concat(lines)
end

-- ---------------------------------------------------------------- SVG

local width, height, margin, head = 1200, 17, 10, 46
local char = 6.7                       -- of 11 pixel monospace, with room to spare
local smallest = 0.3                   -- what is narrower is left out

local function tree(list)
  local root = { name = "all", count = 0, children = {}, order = {} }
  local deepest = 0
  for _, s in ipairs(list) do
    local node = root
    root.count = root.count + s.count
    for depth, frame in ipairs(s.frames) do
      local child = node.children[frame]
      if not child then
        child = { name = frame, count = 0, children = {}, order = {} }
        node.children[frame] = child
        node.order[#node.order + 1] = child
      end
      child.count = child.count + s.count
      node = child
      deepest = math.max(deepest, depth)
    end
  end
  return root, deepest
end

-- Text of any bytes as UTF-8 that XML may hold.
local function clean(s)
  s = s:gsub("%c", " ")
  local ok, bad = utf8.len(s)
  while not ok do
    s = s:sub(1, bad - 1) .. "?" .. s:sub(bad + 1)
    ok, bad = utf8.len(s)
  end
  return (s:gsub("\xEF\xBF[\xBE\xBF]", "?"))
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(s) return (s:gsub('[&<>"]', entities)) end

-- As much of it as `room` pixels hold.
local function fit(s, room)
  local n = room // char
  if utf8.len(s) <= n then return s end
  if n < 3 then return "" end
  return s:sub(1, utf8.offset(s, math.tointeger(n) - 1) - 1) .. ".."
end

-- Warm for Lua, cool for C, grey for what is no function; the same one is always the same.
local function colour(name)
  local h = 0
  for i = 1, #name do h = (h * 31 + name:byte(i)) % 9973 end
  local a, b = h % 56, h // 56 % 46
  if name:find(" %[C%]$") then return ("rgb(%d,%d,%d)"):format(110 + b, 165 + a, 205 + b) end
  if not name:find("%)$") or name:find("^%(") then
    return ("rgb(%d,%d,%d)"):format(198 + b, 198 + b, 198 + b)
  end
  return ("rgb(%d,%d,%d)"):format(208 + b, 110 + a * 2, 56 + a // 2)
end

-- With one decimal, and a point whatever the locale.
local function fixed(x)
  local tenths = math.floor(x * 10 + 0.5)
  return ("%d.%d"):format(tenths // 10, tenths % 10)
end

local function draw(out, node, x, depth, base, scale, total)
  local w = node.count * scale
  if w < smallest then return end
  local y = base - depth * height
  local name = clean(node.name)
  local shown = fit(name, w - 6)
  out[#out + 1] = ('<g><title>%s: %d samples, %s%%</title>'):format(
    escape(name), node.count, fixed(100 * node.count / total))
  out[#out + 1] = ('<rect x="%s" y="%d" width="%s" height="%d" fill="%s"/>'):format(
    fixed(x), y, fixed(math.max(w - 0.5, 0.2)), height - 1, colour(node.name))
  if shown ~= "" then
    out[#out + 1] = ('<text x="%s" y="%d">%s</text>'):format(
      fixed(x + 3), y + 12, escape(shown))
  end
  out[#out + 1] = "</g>\n"
  table.sort(node.order, function(a, b) return a.name < b.name end)
  for _, child in ipairs(node.order) do
    draw(out, child, x, depth + 1, base, scale, total)
    x = x + child.count * scale
  end
end

local function svg(list, hz, seconds)
  local root, deepest = tree(list)
  local full = head + (deepest + 1) * height + margin
  local out = { '<?xml version="1.0" encoding="UTF-8"?>\n' }
  out[#out + 1] = ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
    .. 'viewBox="0 0 %d %d" font-family="monospace" font-size="11">\n')
    :format(width, full, width, full)
  out[#out + 1] = '<style>rect:hover { stroke: #000; } text { pointer-events: none; }</style>\n'
  out[#out + 1] = ('<rect width="%d" height="%d" fill="#fffdf7"/>\n'):format(width, full)
  out[#out + 1] = ('<text x="%d" y="26" font-size="15">%s</text>\n'):format(margin,
    ("%d samples, %d for each second of CPU time, in %s s")
      :format(root.count, hz, fixed(seconds)))
  if root.count > 0 then
    local scale = (width - 2 * margin) / root.count
    draw(out, root, margin, 0, full - margin - height, scale, root.count)
  end
  out[#out + 1] = "</svg>\n"
  return table.concat(out)
end

-- ---------------------------------------------------------------- writing

local function write(path, text)
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  local ok
  ok, why = file:write(text)
  local closed, why_not = file:close()
  if ok and closed then return true end
  return nil, path .. ": " .. tostring(why or why_not)
end

--- Writes what was sampled since `start`, and stops.  If it cannot be written nothing is lost:
--- sampling goes on, and `stop` may be called again.
---@param path string gets a flame graph if it ends in ".svg", else folded stacks: lines
--- "frame;frame;frame count"
---@return true? ok
---@return string? reason
function M.stop(path)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'stop' (string expected, got %s)")
      :format(path == nil and "no value" or type(path)), 2)
  end
  local which, text, hz, seconds = part.read()
  if not which then return nil, text end
  local list = stacks(text)
  local picture = path:lower():find("%.svg$")
  local ok, why = write(path, picture and svg(list, hz, seconds) or folded(list))
  if not ok then return nil, why end
  if not part.finish(which) then return nil, "not profiling" end
  return true
end

return M
