-- Draws what the benchmarks measured, with gnuplot:
--     tools/lua bench/plot.lua DATA OUT.svg [SCALE OUT.svg]
--
-- DATA: what bench/run.lua --data wrote; SCALE: what bench/scale.lua printed.

local function lines_of(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text:gmatch("[^\n]+")
end

local function gnuplot(script)
  local pipe = assert(io.popen("gnuplot", "w"))
  assert(pipe:write(script))
  assert(pipe:close(), "gnuplot failed")
end

-- Workloads as ratios to goro's figure with one worker: bars beyond 1 take longer than goro.
local function ratios(path, out)
  local rows = {}
  for line in lines_of(path) do
    local cells = {}
    for cell in line:gmatch("[^\t]+") do
      cells[#cells + 1] = cell
    end
    local base = tonumber(cells[3])
    if base and cells[2] ~= "MB/s" and tonumber(cells[5]) then
      local row = { ('"%s"'):format((cells[1]:gsub("_", " "))) }
      for i = 4, 8 do
        local value = tonumber(cells[i])
        row[#row + 1] = value and ("%.4g"):format(value / base) or "NaN"
      end
      rows[#rows + 1] = table.concat(row, " ")
    end
  end
  gnuplot(([[
set terminal svg size 960,480 background "white" font "sans,11"
set output "%s"
set title "Time (of parked: memory), goro with one worker = 1; less is better"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 border -1
set logscale y 2
set yrange [0.02:16]
set ytics (0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
set grid ytics
set xtics rotate by -40
set key outside top horizontal
$d << EOD
%s
EOD
plot $d using 2:xtic(1) title "goro, 2 workers" lc rgb "#1f6fb4", \
  1 notitle lc rgb "black", \
  $d using 3 title "Go 1" lc rgb "#8fc98f", $d using 4 title "Go 2" lc rgb "#3f8f3f", \
  $d using 5 title "Erlang 1" lc rgb "#f0b070", $d using 6 title "Erlang 2" lc rgb "#c05820"
]]):format(out, table.concat(rows, "\n")))
end

-- Goroutines against seconds and against memory.
local function scale(path, out)
  local rows = {}
  for line in lines_of(path) do
    local n, start, stop, bytes = line:match("^| (%d+) | (%S+) | (%S+) | (%d+) |")
    if n then                          -- (the table's head is none)
      rows[#rows + 1] = ("%s %s %s %g"):format(n, start, stop, n * bytes / (1 << 20))
    end
  end
  gnuplot(([[
set terminal svg size 960,360 background "white" font "sans,11"
set output "%s"
set multiplot layout 1,2
set logscale xy 10
set format x "10^{%%L}"
set xlabel "goroutines"
set grid
set key left top
$d << EOD
%s
EOD
set ylabel "seconds"
plot $d using 1:2 with linespoints title "started and parked", \
  $d using 1:3 with linespoints title "woken and ended"
set ylabel "resident MiB"
plot $d using 1:4 with linespoints title "all parked"
unset multiplot
]]):format(out, table.concat(rows, "\n")))
end

if not arg[2] then
  io.stderr:write("usage: tools/lua bench/plot.lua DATA OUT.svg [SCALE OUT.svg]\n")
  os.exit(2)
end
ratios(arg[1], arg[2])
if arg[4] then
  scale(arg[3], arg[4])
end
