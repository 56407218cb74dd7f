-- Every block of code in README.md and docs/ is tried: each program runs, and prints what
-- stands behind its `-->`; what a shell would run is there.  What cannot be tried says why.

local script = require("spec.support.script")

local function pages()
  local pipe = assert(io.popen("ls README.md docs/*.md"))
  local names = {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return names
end

-- Indented blocks that are no programs and no commands, by their first line.
local untried = {
  ["    host → alarm → timer shard → object (WaitGroup ...) → channel → sched → leaf"] =
    "an order, not code: lock.c checks it in the debug build",
  ["    check_panics(L, h);                 panics to be raised here, the host's end"] =
    "how a function in C begins; waitgroup.c and lua_sync.c are such",
  ["    local co = coroutine.create(function()"] =
    "it shows what aborts in a Lua with API checks",
}
-- Words that begin a command line, and who runs it.
local elsewhere = {
  luarocks = "tools/rock.sh, `make rock`",
  gcc = "it needs Lua's sources; the matrix of versions is built so",
}

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
    elseif line:find("^%s*```") then
      assert(line:find("^%s*```lua%s*$"), ("%s:%d: not a block of Lua"):format(name, number))
      current = { line = number, lines = {} }
    end
  end
  assert(not current, name .. ": a block without an end")
  return list
end

-- The indented ones, a list of lines each.
local function indented(name)
  local list, current, fenced, before = {}, nil, false, ""
  for line in io.lines(name) do
    if line:find("^%s*```") then fenced = not fenced end
    if not fenced and line:find("^    ") and (current or before == "") then
      if not current then
        current = {}
        list[#list + 1] = current
      end
      current[#current + 1] = line
    elseif line ~= "" then
      current = nil
    end
    before = line
  end
  return list
end

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

-- A line of what a shell is given: its targets are in the Makefile, its files are there.
local function check_command(line, makefile)
  local word, tried = line:match("^%s*(%S+)"), false
  if elsewhere[word] or line:find("^      ") then return end      -- (that one's next line)
  for target in line:gmatch("%f[%w]make ([%l][%l-]*)") do
    assert((" " .. makefile):find("[%s]" .. target:gsub("%-", "%%-") .. "[%w%s-]*:"),
      "no such target: make " .. target)
    tried = true
  end
  for path in line:gmatch("%f[%w/.][%l]+/[%w_./-]+%.?%l*") do
    if path:find("^tools/") or path:find("^bench/[%w_]+%.") then
      assert(exists(path), "no such file: " .. path)
      tried = true
    end
  end
  assert(tried or word == "make", "neither tried nor excused: " .. line)
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

-- One that asks a TLS server of the internet asks one of ours.
local function with_server(text, dir)
  local prelude = ([[
    ADDR = (function()
      local goro, dir = require "goro", %q
      local listener = assert(goro.net.listen("127.0.0.1:0"))
      goro.go(function()
        local c = assert(require("goro.tls").wrap(listener:accept(), { mode = "server",
          protocol = "any", key = dir .. "/key.pem", certificate = dir .. "/cert.pem" }))
        assert(c:dohandshake())
        repeat local line = c:receive("*l") until line == "" or not line
        c:send("HTTP/1.0 200 OK\r\n\r\nhello")
        c:close()
      end)
      return listener:addr()
    end)() ]]):format(dir):gsub("\n", " ")
  local n, m
  text, n = text:gsub('"example%.org:443"', "ADDR")
  text, m = text:gsub('"/etc/ssl/[^"]*"', ("%q"):format(dir .. "/cert.pem"))
  assert(n == 1 and m == 1)
  return prelude .. text
end

-- Its output, whose first lines must be those promised: a traceback may follow.
local function check(block)
  local source, dir = table.concat(block.lines, "\n") .. "\n"
  if source:find("example.org:443", 1, true) then
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    assert(os.execute(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 "
      .. "-subj /CN=example.org -keyout %s/key.pem -out %s/cert.pem 2>&-"):format(dir, dir)))
    source = with_server(source, dir)
  end
  local result = script.run(source)
  if dir then
    os.execute("rm -r " .. dir)
    assert.equal("HTTP/1.0 200 OK\r\n\r\nhello\n", result.out, script.account(result))
  end
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

describe("what else stands in README.md and docs/ #docs", function()
  it("names targets and files that are there, or says why it is not tried", function()
    local makefile = script.slurp("Makefile")
    local excused = 0
    for _, name in ipairs(pages()) do
      for _, lines in ipairs(indented(name)) do
        if untried[lines[1]] then excused = excused + 1
        else for _, line in ipairs(lines) do check_command(line, makefile) end end
      end
    end
    local n = 0
    for _ in pairs(untried) do n = n + 1 end
    assert.equal(n, excused)           -- no excuse for what is gone
  end)
end)
