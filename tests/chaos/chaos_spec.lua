-- The chaos build itself: run by `make chaos`, with GOROBUILD=chaos.

local script = require("spec.support.script")

local function run(path, seed, procs, extra)
  local env = { GOROCHAOS = seed, GOROMAXPROCS = procs, GOROCHAOSHASH = "1" }
  for k, v in pairs(extra or {}) do env[k] = v end
  return script.command("tools/lua " .. path, { env = env })
end

local function hash(result)
  return result.err:match("chaos: seed %d+, %d+ decisions, hash %x+") or script.account(result)
end

describe("the chaos build #chaos", function()
  it("does the same again with the same seed", function()
    local different, seen = 0, {}
    for seed = 1, 30 do
      local procs = seed % 3 + 1
      local first = run("tests/chaos/main.lua", seed, procs)
      local again = run("tests/chaos/main.lua", seed, procs)
      assert(first.code == 0, script.account(first))
      assert.equal(hash(first), hash(again))
      local h = hash(first):match("hash (%x+)")
      if not seen[h] then different = different + 1 end
      seen[h] = true
    end
    assert.equal(30, different)
  end)

  it("takes no time for a sleep, and the clock says it did", function()
    local result = script.run([[
      local goro = require("goro")
      local t, real = goro.now(), os.time()
      for i = 1, 10 do goro.go(goro.sleep, i * 3600) end
      goro.sleep(86400)
      assert(goro.now() - t >= 86400 and goro.now() - t < 86401)
      assert(os.time() - real < 20)
    ]])
    assert(result.code == 0, script.account(result))
  end)

  it("says how to repeat what failed", function()
    local result = script.run([[
      local goro = require("goro")
      local c = goro.chan()
      goro.go(function() c:send(1) end)
      c:recv()
      error("no")
    ]], { env = { GOROCHAOS = "77" } })
    assert.equal(1, result.code)
    assert(result.err:find("chaos: failed; again with GOROCHAOS=77\n", 1, true), result.err)
  end)

  it("says it also when the process is killed", function()
    local source = [[
      local goro = require("goro")
      goro.async(function() end):wait()
      package.loadlib("build/tests/posix.so", "luaopen_posix")().%s()
      goro.select {}
    ]]
    assert(require("spec.support.clib")("posix"))
    for what, signal in pairs { abort = 6, crash = 11 } do
      local result = script.run(source:format(what), { env = { GOROCHAOS = "78" } })
      assert.equal(signal, result.signal or result.code - 128, script.account(result))
      assert(result.err:find("chaos: killed; again with GOROCHAOS=78\n", 1, true), result.err)
    end
  end)

  it("finds a race that a fair scheduler hides, and again with its seed", function()
    local source = [[
      local goro = require("goro")
      local a, wg = goro.Atomic(), goro.WaitGroup()
      for _ = 1, 2 do
        wg:go(function()
          local v = a:load()
          a:store(v + 1)
        end)
      end
      wg:wait()
      os.exit(a:load() == 2 and 0 or 9)
    ]]
    local counts, found = { [0] = 0, [9] = 0 }, nil
    local function try(seed)
      local result = script.run(source, { env = { GOROCHAOS = seed, GOROMAXPROCS = 1 } })
      assert(counts[result.code], script.account(result))
      if result.code == 9 then
        found = math.tointeger(result.err:match("again with GOROCHAOS=(%d+)"))
        assert.equal(seed, found)
      end
      return result.code
    end
    for seed = 1, 60 do
      local code = try(seed)
      counts[code] = counts[code] + 1
    end
    assert(counts[0] > 0 and counts[9] > 0, counts[9] .. " of 60 went wrong")
    for _ = 1, 10 do assert.equal(9, try(found)) end
  end)
end)
