-- Draws a trace of goro.trace as a picture: tools/lua tools/traceplot.lua TRACE.json OUT.svg
-- [FROM [TO]], microseconds of the trace.  A row is a thread, a box a goroutine's slice, a line
-- goes from who readied to who ran, a tick is an instant (steal, hand-off ...).

local json = require("dkjson")

local path, out = arg[1], arg[2]
if not path or not out or path == "--help" then
  io.stderr:write("usage: tools/lua tools/traceplot.lua TRACE.json OUT.svg [FROM [TO]]\n")
  os.exit(path == "--help" and 0 or 2)
end

local file <close> = assert(io.open(path))
local events = assert(json.decode(file:read("a"))).traceEvents
local from, to = tonumber(arg[3]) or math.huge, tonumber(arg[4]) or 0
local names, order, hues = {}, {}, {}
for _, e in ipairs(events) do
  if e.name == "thread_name" then names[e.tid] = e.args.name end
  if e.name == "thread_sort_index" then order[#order + 1] = { e.args.sort_index, e.tid } end
  if e.ph == "X" and not arg[3] then from = math.min(from, e.ts) end
  if e.ph == "X" and not arg[4] then to = math.max(to, e.ts + e.dur) end
end
table.sort(order, function(a, b) return a[1] < b[1] end)

local WIDTH, LEFT, ROW, BOX, TOP = 1200, 150, 56, 26, 40
local scale = (WIDTH - LEFT - 10) / (to - from)
local function x(ts) return LEFT + (math.min(math.max(ts, from), to) - from) * scale end
local rows = {}
for i, o in ipairs(order) do rows[o[2]] = TOP + (i - 1) * ROW end

local function escape(s)
  return (s:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local lines = {}
local function put(...) lines[#lines + 1] = string.format(...) end

local function seen(e) return e.ts <= to and e.ts + (e.dur or 0) >= from and rows[e.tid] end

put('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
  .. 'font-family="monospace" font-size="11">', WIDTH, TOP + #order * ROW, WIDTH,
  TOP + #order * ROW)
put('<rect width="100%%" height="100%%" fill="#fffdf7"/>')
put('<text x="%d" y="20" font-size="13">%.0f us</text>', LEFT, to - from)
for tid, y in pairs(rows) do
  put('<text x="8" y="%d">%s</text>', y + 17, escape(names[tid]:gsub(" %(.*", "")))
  put('<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#ccc"/>', LEFT, y + BOX, WIDTH - 10,
    y + BOX)
end
local nhues = 0
for _, e in ipairs(events) do
  if e.ph == "X" and seen(e) then
    local name = e.name:gsub("%S*/", "")
    if not hues[name] then
      hues[name] = nhues * 137 % 360             -- the golden angle: neighbours differ
      nhues = nhues + 1
    end
    local left, right = x(e.ts), x(e.ts + e.dur)
    put('<g><title>%s (goroutine %d): %.1f us, %s</title>', escape(name), e.args.g, e.dur,
      escape(e.args["end"]))
    put('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="hsl(%d,60%%,72%%)" '
      .. 'stroke="#666" stroke-width="0.4"/>', left, rows[e.tid], math.max(right - left, 0.6),
      BOX, hues[name])
    local room = (right - left - 6) // 6.7
    if room >= 3 then
      put('<text x="%.1f" y="%d">%s</text>', left + 3, rows[e.tid] + 17,
        escape(#name <= room and name or name:sub(1, room // 1 | 0)))
    end
    put("</g>")
  end
end
local starts = {}
for _, e in ipairs(events) do
  if e.ph == "s" then
    starts[e.id] = e
  elseif e.ph == "f" and starts[e.id] and seen(starts[e.id]) and seen(e) then
    local s = starts[e.id]
    put('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#346" stroke-opacity="0.55"/>',
      x(s.ts), rows[s.tid] + BOX, x(e.ts), rows[e.tid] + (s.tid == e.tid and BOX or 0))
  elseif e.ph == "i" and seen(e) then
    put('<g><title>%s</title><line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#b22" '
      .. 'stroke-width="1.5"/></g>', escape(e.name), x(e.ts), rows[e.tid] - 7, x(e.ts),
      rows[e.tid])
  end
end
put("</svg>")
local target <close> = assert(io.open(out, "w"))
assert(target:write(table.concat(lines, "\n"), "\n"))
