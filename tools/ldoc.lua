-- Rewrites the definitions for editors (LuaLS annotations) as ldoc understands them:
-- lua tools/ldoc.lua types/goro.lua > build/docs/goro.lua

local path = assert(arg[1], "usage: ldoc.lua FILE")

-- A type ends at the first blank outside of brackets.
local function split_type(s)
  local depth = 0
  for i = 1, #s do
    local c = s:sub(i, i)
    if c:find("[%(%[{<]") then
      depth = depth + 1
    elseif c:find("[%)%]}>]") then
      depth = depth - 1
    elseif c == " " and depth == 0 and not s:sub(1, i - 1):find("[:,|]$") then
      return s:sub(1, i - 1), s:sub(i + 1)
    end
  end
  return s, ""
end

-- One word for ldoc: its alternatives stand between bars, a `?` at the end is nil.
local function word(type)
  local w = type:gsub("%s+", ""):gsub("fun%(.*$", "function"):gsub("goro%.", "")
  local bare = w:match("^(.*)%?$")
  w = (bare and "nil|" .. bare or w):gsub("[^%w_|.]", "")
  return w ~= "" and w or "any"
end

local out = {}
local function put(...) out[#out + 1] = table.concat({ ... }) end

local rewrite = {
  param = function(s)
    local name, rest = s:match("^(%S+)%s*(.*)$")
    local type, text = split_type(rest)
    local bare = name:gsub("%?$", "")
    put("-- @tparam", bare ~= name and "[opt] " or " ", word(type), " ", bare, " ", text)
  end,
  ["return"] = function(s)
    local type, text = split_type(s)
    put("-- @treturn ", word(type), " ", text)
  end,
}

-- One block of `---` lines and the line of code behind it.
local function flush(block, code)
  local class, name, def
  local texts, tags, fields = {}, {}, {}
  for _, line in ipairs(block) do
    local tag, rest = line:match("^@(%a+)%s*(.*)$")
    if not tag then
      local list = #tags > 0 and tags or texts
      list[#list + 1] = line
    elseif tag == "class" then
      class = rest:match("^[%w_.]+")
    elseif tag == "field" then
      fields[#fields + 1] = rest
    elseif tag == "alias" or tag == "meta" then
      def = rest
    elseif rewrite[tag] then
      tags[#tags + 1] = { tag, rest }
    end
  end
  name = code and code:match("^function%s+([%w_.:]+)")
  if not class and not name then return end
  put("--- ", texts[1] or "", texts[1] and "" or "(no text)")
  for i = 2, #texts do put("-- ", texts[i]) end
  if #fields > 0 then put("--") end
  for _, f in ipairs(fields) do
    put("--  * `", f:match("^%S+"), "` ", f:match("^%S+%s*(.*)$"))
  end
  if class and class:find("^goro%.%l[%w_]*$") == nil and class ~= "goro" then
    put("-- @type ", class:match("[%w_]+$"))
  elseif class == "goro" then
    put("-- @module goro")
  elseif class then
    put("-- @section ", class:match("[%w_]+$"))
  end
  for _, t in ipairs(tags) do
    if type(t) == "table" then rewrite[t[1]](t[2]) else put("-- ", t) end
  end
  if code then put(code) end
  put("")
  return def
end

local block = {}
for line in io.lines(path) do
  local text = line:match("^%-%-%-(.*)$")
  if text and not text:find("^|") then
    block[#block + 1] = text
  elseif #block > 0 then
    flush(block, line)
    block = {}
  end
end
io.write(table.concat(out, "\n"), "\n")
