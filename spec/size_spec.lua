-- How deep and how large what crosses may be, and what happens when there is no memory for it.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local cross = support.cross

describe("values of any size cross #size", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("tables nested 1,000,000 deep, as values, keys and classes' fields", function()
    local depth = support.many(1000000)
    local t = { "bottom" }
    for _ = 1, depth do t = { t } end
    local r = cross(t)
    local n = 0
    while type(r[1]) == "table" do r, n = r[1], n + 1 end
    assert.equal(depth, n)
    t = setmetatable({ "bottom" }, { __index = {} })
    for _ = 1, depth // 10 do t = { [t] = true } end
    r, n = cross(t), 0
    while not r[1] do r, n = next(r), n + 1 end
    assert.equal(depth // 10, n)
  end)

  it("lists of 1,000,000 entries; 10,000,000 if GOROBIG is set", function()
    local n = os.getenv("GOROBIG") and 10000000 or support.many(1000000)
    local t = {}
    for i = 1, n do t[i] = i end
    local r = cross(t)
    assert.equal(n, #r)
    for i = 1, n do
      if r[i] ~= i then error(i) end
    end
  end)

  it("strings of 64 MB #long", function()
    local s = ("0123456789abcdef"):rep(support.many(4) << 20)
    assert.is_true(cross(s) == s)
    assert.is_true(cross({ s })[1] == s)
  end)

  it("tables with parts of the right size at once", function()
    local function size_of(make)
      collectgarbage()
      collectgarbage("stop")
      local before = collectgarbage("count")
      local v = make()
      local after = collectgarbage("count")
      collectgarbage("restart")
      return after - before, v
    end
    local list, record = {}, {}
    for i = 1, 5000 do list[i] = true end
    for i = 1, 4096 do record[i + 0.5] = true end
    local c = goro.chan(2)
    c:send(list)
    c:send(record)
    assert.is_true(size_of(function() return (c:recv()) end) < 5000 * 16 / 1024 + 2)
    local exact = size_of(function()
      local t = {}
      for k, v in pairs(record) do t[k] = v end
      return t
    end)
    assert.is_true(size_of(function() return (c:recv()) end) < exact * 1.1 + 2)
  end)

  it("or a clear error when there is no memory, and no crash #nosan", function()
    local source = [[
      local goro = require("goro")
      local c = goro.chan(1)
      local t, s = {}, ("x"):rep(1 << 20)
      for i = 1, 6000000 do t[i] = i end
      local big = {}
      for i = 1, 1000 do big[i] = s end
      for _, v in ipairs { t, big, s:rep(64) } do
        local ok, err = pcall(function()
          c:send(v)
          return c:recv()
        end)
        print(ok or err)
        if #c > 0 then c:recv() end
        collectgarbage()
      end
      c:send("alive")
      print((c:recv()))
    ]]
    local failed = false
    for mb = 200, 500, 150 do
      local r = script.run(source, { before = ("prlimit --as=%d"):format(mb << 20) })
      if r.code ~= 0 then
        assert.is_truthy(r.err:find("not enough memory", 1, true), script.account(r))
      else
        assert.is_truthy(r.out:find("alive", 1, true))
        for line in r.out:gmatch("[^\n]+") do
          if line == "not enough memory" then
            failed = true
          else
            assert.is_true(line == "true" or line == "alive", line)
          end
        end
      end
    end
    assert.is_true(failed)
  end)
end)
