-- Lines that are printed never mix, whoever prints them and wherever they go.  C modules may
-- be required by any number of goroutines at once.

local script = require("spec.support.script")

-- Checks lines such as "<7:3:xxxxx>": whole, each once, and each printer's in its order.
local function check_lines(text, printers, lines, length)
  local last = {}
  local count = 0
  for line in text:gmatch("([^\n]*)\n") do
    local id, n, body = line:match("^<(%d+)\t(%d+)\t(%a+)>$")
    assert(id, "a line is not whole: " .. line:sub(1, 60) .. " ... " .. line:sub(-60))
    assert(#body == length and not body:find("[^" .. body:sub(1, 1) .. "]"),
      "lines mixed: " .. line:sub(1, 60))
    n = tonumber(n)
    assert(n == (last[id] or 0) + 1, ("line %d of %s came after %s"):format(n, id, last[id]))
    last[id] = n
    count = count + 1
  end
  assert.equal(printers * lines, count)
end

local function printing(with, length, lines)
  return ([[
    local goro = require("goro")
    local wg = goro.WaitGroup()
    local function work(id)
      local body = string.char(97 + id %% 26):rep(%d)
      for n = 1, %d do
        %s
      end
    end
    wg:add(50)
    for id = 1, 50 do
      goro.go(function() work(id) wg:done() end)
    end
    work(0)
    wg:wait()
  ]]):format(length, lines, with)
end

local by_print = [[ print("<" .. id, n, body .. ">") ]]
local by_write = [[ io.write("<" .. id .. "\t" .. n .. "\t" .. body .. ">\n") ]]

describe("lines printed by many goroutines #print", function()
  for name, with in pairs { print = by_print, ["io.write of one string"] = by_write } do
    it("never mix: short ones, by " .. name, function()
      check_lines(script.ok(printing(with, 30, 500)), 51, 500, 30)
    end)

    it("never mix: longer than a pipe takes at once, by " .. name, function()
      local out = script.ok(printing(with, 20000, 20), { pipe = "cat" })
      check_lines(out, 51, 20, 20000)
    end)

    it("never mix when the reader is slow, by " .. name, function()
      local out = script.ok(printing(with, 70000, 3), { pipe = "(sleep 0.3; cat)" })
      check_lines(out, 51, 3, 70000)
    end)
  end

  it("never mix when standard output is unbuffered", function()
    local source = 'io.stdout:setvbuf("no") ' .. printing(by_print, 6000, 20)
    check_lines(script.ok(source, { pipe = "cat" }), 51, 20, 6000)
  end)

  it("come in order with what the same goroutine writes by io.write", function()
    assert.equal("a\nb\nc\nd\ne\nf\n", (script.ok [[
      local goro = require("goro")
      local done = goro.chan()
      print("a")
      io.write("b\n")
      print("c")
      goro.go(function()
        io.write("d\n")
        print("e")
        io.write("f\n")
        done:send(true)
      end)
      done:recv()
    ]]))
  end)

  it("all arrive, however the process ends", function()
    for _, ending in ipairs { "", "os.exit(0)", "os.exit(0, true)",
      "goro.go(os.exit, 0) goro.sleep(1000)" } do
      assert.equal(("line\n"):rep(1000), (script.ok([[
        local goro = require("goro")
        local c = goro.chan()
        for _ = 1, 1000 do goro.go(function() print("line") c:send(1) end) end
        for _ = 1, 1000 do c:recv() end
      ]] .. ending)))
    end
  end)

  it("are what Lua's own print makes of its arguments", function()
    assert.equal("\n1\t2.0\tnil\ttrue\tx\0y\nA\n", (script.ok [[
      local goro = require("goro")
      local done = goro.chan()
      goro.go(function()
        print()
        print(1, 2.0, nil, true, "x\0y")
        print(setmetatable({}, { __tostring = function() return "A" end }))
        done:send(true)
      end)
      done:recv()
    ]]))
  end)

  it("may have a __tostring that blocks, prints or raises, and nobody is held up", function()
    assert.equal("inner\nvalue\nfalse\nend\n", (script.ok [[
      local goro = require("goro")
      local c, done = goro.chan(), goro.chan()
      goro.go(function()
        print(setmetatable({}, { __tostring = function()
          print("inner")
          return c:recv()
        end }))
        local ok = pcall(print, setmetatable({}, { __tostring = error }))
        print(ok)
        done:send(true)
      end)
      c:send("value")
      done:recv()
      print("end")
    ]]))
  end)
end)

describe("require of C modules #print", function()
  for _, name in ipairs { "cjson", "lfs", "lpeg" } do
    if not package.searchpath(name, package.cpath) then
      pending(name .. " is not installed")
      return
    end
  end

  it("works in 100 goroutines at once", function()
    for _ = 1, 5 do
      assert.equal("100\n", (script.ok [[
        local goro = require("goro")
        local results = goro.chan(100)
        local start = goro.chan()
        for i = 1, 100 do
          goro.go(function()
            start:recv()
            local names = { "cjson", "lfs", "lpeg" }
            local m = {}
            for k = 0, 2 do
              local name = names[(i + k) % 3 + 1]
              m[name] = require(name)
            end
            assert(m.cjson.decode(m.cjson.encode({ i }))[1] == i)
            assert(m.lfs.attributes(".", "mode") == "directory")
            assert(m.lpeg.match(m.lpeg.P("a") ^ 1, "aaab") == 4)
            assert(require("lpeg") == m.lpeg)
            results:send(i)
          end)
        end
        start:close()
        local n = 0
        for _ = 1, 100 do
          results:recv()
          n = n + 1
        end
        print(n)
      ]]))
    end
  end)

  it("that fails in one goroutine holds up no other", function()
    assert.equal("50\n", (script.ok [[
      local goro = require("goro")
      local results = goro.chan(100)
      for i = 1, 100 do
        goro.go(function()
          results:send((pcall(require, i % 2 == 0 and "cjson" or "no.such.module")))
        end)
      end
      local n = 0
      for _ = 1, 100 do
        if results:recv() then n = n + 1 end
      end
      print(n)
    ]]))
  end)
end)

describe("warn in a goroutine #print", function()
  it("is off until the goroutine turns it on, and its coroutines' too", function()
    local result = script.run([[
      local goro = require("goro")
      warn("@on")
      warn("in ", "main")
      goro.async(function()
        warn("not on yet")
        warn("@on")
        warn("a", "b", "@off")
        coroutine.wrap(function() warn("c") end)()
        warn("@unknown")
        warn("@off")
        warn("off again")
      end):result()
      goro.async(function() warn("never on here") end):result()
    ]])
    assert.equal(0, result.code)
    assert.equal("Lua warning: in main\nLua warning: ab@off\nLua warning: c\n", result.err)
  end)
end)
