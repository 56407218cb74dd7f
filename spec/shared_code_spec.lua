-- Instructions and line numbers that many goroutines load are kept once (src/rom.c).  Nobody
-- may notice but by the memory.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

-- A function of 60 lines that adds `k` to its argument; told to, it fails in the last but one.
local function source(k)
  local lines = { "local function f(n, fail)" }
  for i = 2, 58 do lines[i] = ("  if n == %d then n = n * %d end"):format(-i, i) end
  lines[59] = ("  n = n + %d"):format(k)
  lines[60] = "  if fail then error('told to') end"
  lines[61] = "  return n"
  lines[62] = "end"
  lines[63] = "return f"
  return table.concat(lines, "\n")
end

local function make(k)
  return load(source(k), "=made")()
end

-- What f(...) returns in a goroutine.
local function run(f, ...) return select(2, assert(goro.async(f, ...):wait())) end

local function loads() return goro.stats().code_loads end

describe("code that goroutines share", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("does what it did, with its lines and names", function()
    local f, before = make(1), loads()
    local held = { f = f }
    for i = 1, 20 do
      local sum, message, lines = run(function()
        local co = coroutine.create(held.f)
        local ok, err = coroutine.resume(co, i, true)
        assert(not ok)
        return held.f(i), err, debug.traceback(co)
      end)
      assert.equal(i + 1, sum)
      assert.equal("made:60: told to", message)
      assert.matches("made:60: in function", lines, 1, true)
    end
    assert.is_true(loads() - before >= 10)
  end)

  it("is told from other code with the same instructions", function()
    local fs = {}
    for k = 1, 8 do fs[k] = make(k * 1000) end       -- constants differ, instructions don't
    for round = 1, 12 do
      for k, f in ipairs(fs) do
        assert.equal(round + k * 1000, run(f, round))
      end
    end
    local held = { fs = fs }
    for round = 1, 12 do                             -- and where a goroutine starts them again
      local got = run(function()
        local r = ""
        for again = 1, 3 do
          for k, f in ipairs(held.fs) do
            r = r .. select(2, goro.async(f, again):wait()) - k * 1000
          end
        end
        return r
      end)
      assert.equal(("1"):rep(8) .. ("2"):rep(8) .. ("3"):rep(8), got, "round " .. round)
    end
  end)

  it("may be dropped by its goroutine and loaded again, also while finalisers run", function()
    local held = { make(7), make(8) }
    for _ = 1, 10 do
      local n = run(function(list, text)
        local sum = 0
        for i = 1, 50 do
          setmetatable({}, { __gc = function()
            local g = load(text)()
            sum = sum + g(-1000)
          end })
          local copy = goro.chan(1)
          copy:send(list)                            -- loads its functions anew
          local fs = copy:recv()
          assert(fs[1](i) == i + 7 and fs[2](i) == i + 8)
          if i % 10 == 0 then collectgarbage() end
        end
        return sum
      end, held, source(1))
      assert.is_number(n)
    end
  end)

  it("is bounded: more than fits is not shared, and works #long", function()
    local out = script.ok([[
      local goro = require "goro"
      local function make(k)
        local lines = {}
        for i = 1, 400 do lines[i] = ("if n == %d then n = n * %d + a[n] end"):format(-i, k) end
        return load("local a = {} local function f(n) " .. table.concat(lines, "\n") ..
                    "\nreturn n + " .. k .. " end return f")()
      end
      for k = 1, 400 do
        local held = { make(k) }
        for i = 1, 4 do
          assert(select(2, goro.async(function() return held[1](i) end):wait()) == i + k)
        end
      end
      local bytes = goro.stats().code_bytes
      assert(bytes > 3 << 20 and bytes <= 4 << 20, bytes)
      print("done")
    ]])
    assert.equal("done\n", out)
  end)

  it("is bounded also in what is kept to know it by #long", function()
    local out = script.ok([[
      local goro = require "goro"
      local text = ("x"):rep(12000)
      local function make(k, lines, text)                -- a dump of much text, or not
        local code = ("if n == -1 then n = n * 3 end\n"):rep(lines)
        return load(("local function f(n) %s return n + #%q - #%q end return f"):format(code,
          k .. text, tostring(k)), "=text")()
      end
      local function share(f)
        local held, before = { f }, goro.stats().code_bytes
        for i = 1, 4 do
          assert(select(2, assert(goro.async(function() return held[1](i) end):wait())) >= i)
        end
        return goro.stats().code_bytes - before
      end
      print("little of it", share(make(0, 4, text)))
      local kept = 0
      for k = 1, 800 do
        local f = make(k, 90, text .. text)
        if share(f) > 0 then kept = kept + #string.dump(f) end
      end
      print("dumps", kept > 11 << 20 and kept <= 12 << 20 or kept)
    ]])
    assert.equal("little of it\t0\ndumps\ttrue\n", out)
  end)

  it("of a module's file is shared by all that require it", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -p '" .. dir .. "'"))
    local file = assert(io.open(dir .. "/shared_code_module.lua", "w"))
    file:write(source(5))
    file:close()
    local before, i = loads(), 0
    repeat                                         -- (a file just written is not kept at once)
      i = i + 1
      local n = run(function()
        package.path = dir .. "/?.lua"
        return require("shared_code_module")(i)
      end)
      assert.equal(i + 5, n)
      goro.sleep(0.005)
    until loads() - before >= 5 or i == 2000
    assert(os.execute("rm -r '" .. dir .. "'"))
    assert.is_true(loads() - before >= 5)
  end)
end)
