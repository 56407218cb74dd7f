-- Puts what was measured into the documents: tools/lua bench/docs.lua FILE NAME TEXT ...
--
-- In FILE, what stands between <!-- NAME --> and <!-- /NAME --> becomes what is in TEXT.  Any
-- number of NAME TEXT pairs; `TEXT:n` is its n-th block (blocks are parted by empty lines).

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

local path = assert(arg[1], "usage: bench/docs.lua FILE NAME TEXT ...")
local text = read(path)
for i = 2, #arg, 2 do
  local name = arg[i]
  local file, block = arg[i + 1]:match("^(.-):?(%d*)$")
  local new = read(file)
  if block ~= "" then
    local n, nth = 0, nil
    for part in (new .. "\n\n"):gmatch("(.-)\n\n+") do
      n = n + 1
      if n == tonumber(block) then
        nth = part
      end
    end
    new = assert(nth, "no such block") .. "\n"
  end
  local open, close = "<!-- " .. name .. " -->\n", "<!-- /" .. name .. " -->"
  local _, from = text:find(open, 1, true)
  local to = text:find(close, 1, true)
  assert(from and to and from < to, path .. " has no place for " .. name)
  text = text:sub(1, from) .. new .. text:sub(to)
end
local file <close> = assert(io.open(path, "w"))
assert(file:write(text))
