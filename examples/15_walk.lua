-- Bounded parallel walk: an errgroup reads directories, a few at a time; the first error ends
-- the walk.  Needs LuaFileSystem.  Usage: 15_walk.lua [DIR]

local goro = require("goro")
local lfs = require("lfs")

local LIMIT <const> = 4 -- directories read at once

-- One directory: what is in it, and the directories below it.
local function list(dir)
  local entry = { subs = {}, files = 0, bytes = 0 }
  for name in lfs.dir(dir) do
    if name ~= "." and name ~= ".." then
      local path = dir .. "/" .. name
      local attr, err = lfs.symlinkattributes(path)
      if not attr then return nil, err end
      if attr.mode == "directory" then
        table.insert(entry.subs, path)
      elseif attr.mode == "file" then
        entry.files = entry.files + 1
        entry.bytes = entry.bytes + attr.size
      end
    end
  end
  return entry
end

-- What an errgroup runs fails by raising, or by returning nil and a reason.
local function visit(dir, found)
  local entry, err = list(dir)
  if not entry then return nil, err end
  found:send(entry)
end

local function walk(root)
  local group = goro.errgroup()
  group:limit(LIMIT)
  local found = goro.chan(LIMIT)
  local waiting, running = { root }, 0
  local totals = { dirs = 0, files = 0, bytes = 0 }
  while #waiting > 0 or running > 0 do
    if #waiting > 0 and running < LIMIT then
      group:go(visit, table.remove(waiting), found)
      running = running + 1
    else
      local entry, ok = found:recv(group.ctx)  -- gives up when one has failed
      if not ok then break end
      running = running - 1
      table.move(entry.subs, 1, #entry.subs, #waiting + 1, waiting)
      totals.dirs = totals.dirs + 1
      totals.files = totals.files + entry.files
      totals.bytes = totals.bytes + entry.bytes
    end
  end
  local ok, err = group:wait()
  if not ok then return nil, err end
  return totals
end

local root = arg[1] or "src"
local totals, err = walk(root)
if not totals then
  io.stderr:write("walk: ", tostring(err), "\n")
  os.exit(1)
end
print(("%s: %d directories, %d files, %d bytes"):format(root, totals.dirs, totals.files,
  totals.bytes))
