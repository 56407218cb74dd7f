-- Every program in README.md and docs/ runs, and prints what stands behind its `-->`.

local script = require("spec.support.script")

local function pages()
  local pipe = assert(io.popen("ls README.md docs/*.md"))
  local names = {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

-- The blocks fenced as ```lua, with the line each begins at.
local function blocks(name)
  local list, current, number = {}, nil, 0
  for line in io.lines(name) do
    number = number + 1
    if current and line:find("^%s*```") then
      list[#list + 1] = current
      current = nil
    elseif current then
      current.lines[#current.lines + 1] = line
    elseif line:find("^%s*```lua%s*$") then
      current = { line = number, lines = {} }
    end
  end
  assert(not current, name .. ": a block without an end")
  return list
end

-- What it says it prints: the text behind each `-->`.
local function promised(block)
  local list = {}
  for _, line in ipairs(block.lines) do
    local text = line:match("%-%->%s?(.*)$")
    if text then list[#list + 1] = text:match("^%s*(.-)%s*$") end
  end
  return list
end

-- Its output, whose first lines must be those promised: a traceback may follow.
local function check(block)
  local result = script.run(table.concat(block.lines, "\n") .. "\n")
  if result.code ~= 0 or result.err ~= "" then error(script.account(result), 0) end
  local printed = {}
  for line in result.out:gmatch("([^\n]*)\n") do
    printed[#printed + 1] = line:match("^%s*(.-)%s*$")
  end
  local wanted = promised(block)
  if #wanted > 0 then
    for i, text in ipairs(wanted) do assert.equal(text, printed[i]) end
    for i = #wanted + 1, #printed do               -- what is left belongs to a traceback
      assert.truthy(result.out:find("stack traceback:", 1, true), "more output: " .. printed[i])
    end
  end
end

for _, name in ipairs(pages()) do
  describe("the programs of " .. name .. " #docs", function()
    for _, block in ipairs(blocks(name)) do
      it(("at line %d do what they say"):format(block.line), function() check(block) end)
    end
  end)
end
