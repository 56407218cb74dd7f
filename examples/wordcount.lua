-- Counts the words in files on all CPUs: a worker pool fed with batches of paths, each worker
-- with a table of its own, merged at the end.

local USAGE <const> = [[
usage: wordcount.lua [-n WORKERS] [--compare | --plain] [--help] [DIR or FILE ...]

Counts the words (runs of letters, in lower case) of all regular files given or below the
directories given, and prints the 20 most frequent.  Unreadable and binary files are skipped.
Without paths it reads the documentation that comes with the system.

  -n WORKERS   how many workers, 1 to 9999 (default: one for each CPU)
  --compare    measure one worker on one CPU too, and print the speed-up
  --plain      count without goroutines
  --help       print this text
]]

local DEFAULTS <const> = {
  "/usr/share/common-licenses",
  "/usr/share/doc",
  "/usr/share/perl",
  "/usr/share/perl5",
}

local MOST <const> = 20 -- words printed
local BATCH <const> = 16 -- paths in one message to a worker

local goro -- loaded unless --plain asks for none

---------------------------------------------------------------------------------------------
-- The command line

local function fail(status, ...)
  io.stderr:write("wordcount: ", ...)
  os.exit(status)
end

local function bad_usage(message)
  fail(2, message, "\n", USAGE)
end

local function worker_number(s)
  if not s then bad_usage("-n needs a number") end
  if not s:find("^[1-9]%d?%d?%d?$") then
    bad_usage(("-n needs a number from 1 to 9999, not '%s'"):format(s))
  end
  return math.tointeger(tonumber(s))
end

local function parse(args)
  local options = { paths = {} }
  local i, only_paths = 1, false
  while i <= #args do
    local a = args[i]
    if only_paths or a:sub(1, 1) ~= "-" or a == "-" then
      table.insert(options.paths, a)
    elseif a == "--" then
      only_paths = true
    elseif a == "--help" or a == "-h" then
      options.help = true
    elseif a == "--compare" or a == "--plain" then
      options[a:sub(3)] = true
    elseif a == "-n" then
      i = i + 1
      options.workers = worker_number(args[i])
    elseif a:sub(1, 2) == "-n" then
      options.workers = worker_number(a:sub(3))
    else
      bad_usage(("unknown option '%s'"):format(a))
    end
    i = i + 1
  end
  if options.plain and (options.compare or options.workers) then
    bad_usage("--plain has no workers: it goes with neither -n nor --compare")
  end
  return options
end

---------------------------------------------------------------------------------------------
-- The files

local function quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

-- What find would take for an option or an operator becomes a path below ".".
local function as_path(s)
  return s:find("^[-(!,)]") and "./" .. s or s
end

-- Prints the regular files, each ended by a NUL; or the first path that does not exist, and
-- exits with status 3.
local FIND <const> = [[
set -- %s
for path do
  test -e "$path" || { printf '%%s' "$path"; exit 3; }
done
exec find -H "$@" -type f -print0]]

local function exists(path)
  return (os.execute("test -e " .. quote(path)))
end

local function default_paths()
  local paths = {}
  for _, path in ipairs(DEFAULTS) do
    if exists(path) then paths[#paths + 1] = path end
  end
  return paths
end

local function find_files(paths)
  local words = {}
  for i, path in ipairs(paths) do
    words[i] = quote(as_path(path))
  end
  local pipe = assert(io.popen(FIND:format(table.concat(words, " "))))
  local output = pipe:read("a")
  local _, _, status = pipe:close()
  if status == 3 then
    fail(1, "'", output, "': no such file or directory\n")
  elseif status > 1 then -- 1: it could not enter some directory, and said so
    fail(1, "cannot run find\n")
  end
  local files = {}
  for path in output:gmatch("[^\0]+") do
    files[#files + 1] = path
  end
  return files
end

---------------------------------------------------------------------------------------------
-- Counting

local function new_tally()
  return { words = {}, files = 0, bytes = 0, skipped = 0 }
end

-- The text of a file; nil if it cannot be read or has a NUL byte.
local function read_text(path)
  local file <close> = io.open(path, "rb")
  if not file then return nil end
  local head, err = file:read(4096) -- enough to know most binary files
  if not head then return not err and "" or nil end
  if head:find("\0", 1, true) then return nil end
  local rest = file:read("a")
  if not rest or rest:find("\0", 1, true) then return nil end
  return head .. rest
end

local function count_file(path, tally)
  local text = read_text(path)
  if not text then
    tally.skipped = tally.skipped + 1
    return
  end
  tally.files = tally.files + 1
  tally.bytes = tally.bytes + #text
  local words = tally.words
  for word in text:lower():gmatch("%a+") do
    words[word] = (words[word] or 0) + 1
  end
end

local function merge(total, part)
  total.files = total.files + part.files
  total.bytes = total.bytes + part.bytes
  total.skipped = total.skipped + part.skipped
  local words = total.words
  for word, n in pairs(part.words) do
    words[word] = (words[word] or 0) + n
  end
end

local function count_plain(files, progress)
  local tally = new_tally()
  for _, path in ipairs(files) do
    count_file(path, tally)
    progress(1)
  end
  return tally
end

-- A worker: counts the files of each batch, tells how many they were, and sends its tally when
-- there are no more.
local function work(batches, done, tallies)
  local tally = new_tally()
  for batch in batches:range() do
    for _, path in ipairs(batch) do
      count_file(path, tally)
    end
    done:send(#batch)
  end
  tallies:send(tally)
end

local function feed(files, batches)
  for i = 1, #files, BATCH do
    batches:send(table.move(files, i, math.min(i + BATCH - 1, #files), 1, {}))
  end
  batches:close()
end

local function count_pooled(files, progress, workers)
  local batches = goro.chan(2 * workers)
  local done = goro.chan(64)
  local tallies = goro.chan()

  for _ = 1, workers do
    goro.go(work, batches:recv_only(), done:send_only(), tallies:send_only())
  end
  goro.go(feed, files, batches:send_only())

  local total, left = new_tally(), workers
  while left > 0 do
    goro.select {
      { recv = done, progress },
      { recv = tallies, function(tally)
        merge(total, tally)
        left = left - 1
      end },
    }
  end
  return total
end

---------------------------------------------------------------------------------------------
-- The report

local function grouped(n)
  local s = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (s:gsub("^,", ""))
end

-- Returns a function that is told of every file, and shows them where somebody may look.
local function new_progress(all, watched)
  if not watched or all == 0 then return function() end end
  local now, shown = 0, -1
  return function(n)
    now = now + n
    local percent = 100 * now // all
    if percent > shown then
      shown = percent
      io.stderr:write(("\r%3d%% of %s files"):format(percent, grouped(all)))
      if now == all then io.stderr:write("\r\27[K") end
    end
  end
end

local function print_tally(tally)
  local list, all = {}, 0
  for word, n in pairs(tally.words) do
    list[#list + 1] = word
    all = all + n
  end
  table.sort(list, function(a, b)
    local m, n = tally.words[a], tally.words[b]
    if m ~= n then return m > n end
    return a < b
  end)
  for i = 1, math.min(MOST, #list) do
    print(("%12s  %s"):format(grouped(tally.words[list[i]]), list[i]))
  end
  print(("%12s  words, %s different"):format(grouped(all), grouped(#list)))
  print(("%12s  files, %s skipped"):format(grouped(tally.files), grouped(tally.skipped)))
  print(("%12s  bytes"):format(grouped(tally.bytes)))
end

local function print_time(seconds, what)
  print(("%12s  %s"):format(("%.3f s"):format(seconds), what))
end

local function workers_text(n)
  return n == 1 and "1 worker" or ("%d workers"):format(n)
end

---------------------------------------------------------------------------------------------

local function run_plain(files, watched)
  local start = os.clock()
  local tally = count_plain(files, new_progress(#files, watched))
  print_tally(tally)
  print_time(os.clock() - start, "CPU time, without goroutines")
end

-- Counts the files and returns how long it took; `report`, if given, gets the tally.
local function timed(files, watched, workers, report)
  local start = goro.now()
  local tally = count_pooled(files, new_progress(#files, watched), workers)
  local seconds = goro.now() - start
  if report then report(tally) end
  return seconds
end

local function run_pooled(files, watched, workers, compare)
  if compare then
    for _, path in ipairs(files) do
      read_text(path) -- so that both runs find the files in memory
    end
  end
  local seconds = timed(files, watched, workers, print_tally)
  print_time(seconds, workers_text(workers))
  if compare then
    collectgarbage() -- the first tally
    local procs = goro.maxprocs(1)
    local alone = timed(files, watched, 1)
    goro.maxprocs(procs)
    print_time(alone, "1 worker on one CPU")
    print(("%12s  speed-up"):format(("%.2f x"):format(alone / seconds)))
  end
end

local function main(args)
  local options = parse(args)
  if options.help then
    io.write(USAGE)
    return
  end
  local files = find_files(#options.paths > 0 and options.paths or default_paths())
  local watched = os.execute("test -t 2")
  if options.plain then
    run_plain(files, watched)
  else
    goro = require("goro")
    run_pooled(files, watched, options.workers or goro.num_cpu(), options.compare)
  end
end

main(arg)
