-- What is no use of goro says so where it is written, and nothing else is disturbed.

local goro = require("goro")
local support = require("spec.support")

local raises, bad_argument = support.raises, support.bad_argument
local in_goroutine, all_blocked = support.in_goroutine, support.all_blocked

local nan = 0 / 0

describe("wrong arguments #badinput", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("of the functions are refused by", function()
    it("goro.chan", function()
      for _, cap in ipairs { -1, -1.0, 1.5, nan, math.huge, -math.huge, math.mininteger,
        math.maxinteger, 2 ^ 53, 1e300, "many", {}, true, print } do
        bad_argument(1, "chan", function() goro.chan(cap) end)
      end
      for _, type_ in ipairs { "nosuch", "", "Integer", "int", {}, true, 42 } do
        bad_argument(2, "chan", function() goro.chan(0, type_) end)
      end
      for _, name in ipairs { {}, true, print } do
        bad_argument(3, "chan", function() goro.chan(0, nil, name) end)
      end
    end)

    it("goro.go", function()
      bad_argument(1, "go", function() goro.go() end)
      for _, f in ipairs { 42, "print", {}, true, goro.chan(),
        setmetatable({}, { __call = print }) } do
        bad_argument(1, "go", function() goro.go(f) end)
      end
      bad_argument(1, "go", function() goro.go(nil, 1) end)
    end)

    it("goro.init", function()
      bad_argument(1, "init", function() goro.init() end)
      for _, f in ipairs { 42, "print", {}, true } do
        bad_argument(1, "init", function() goro.init(f) end)
      end
    end)

    it("goro.name", function()
      for _, s in ipairs { {}, true, print } do
        bad_argument(1, "name", function() goro.name(s) end)
      end
    end)

    it("goro.maxprocs", function()
      local before = goro.maxprocs()
      for _, n in ipairs { 0, -1, 1.5, nan, math.huge, math.mininteger, "two", {}, true } do
        bad_argument(1, "maxprocs", function() goro.maxprocs(n) end)
      end
      assert.equal(before, goro.maxprocs())
    end)

    it("goro.sleep", function()
      bad_argument(1, "sleep", function() goro.sleep() end)
      for _, s in ipairs { nan, "soon", {}, true, print } do
        bad_argument(1, "sleep", function() goro.sleep(s) end)
      end
    end)

    it("goro.after", function()
      bad_argument(1, "after", function() goro.after() end)
      for _, s in ipairs { nan, "soon", {}, true, print } do
        bad_argument(1, "after", function() goro.after(s) end)
      end
    end)

    it("goro.select", function()
      bad_argument(1, "select", function() goro.select() end)
      for _, v in ipairs { 42, "x", true, goro.chan(), print } do
        bad_argument(1, "select", function() goro.select(v) end)
      end
    end)
  end)

  describe("of methods are refused by", function()
    local timeouts = { "soon", "1", {}, true, false, nan, print }

    it("recv and try_recv, and nothing is received", function()
      local c = goro.chan(1)
      c:send("kept")
      for _, t in ipairs(timeouts) do
        bad_argument(1, "recv", function() c:recv(t) end)
        bad_argument(1, "try_recv", function() c:try_recv(t) end)
      end
      bad_argument(1, "recv", function() c:recv(goro.chan()) end)
      assert.equal("kept", (c:recv()))
    end)

    it("try_send, and nothing is sent", function()
      local c = goro.chan(1)
      for _, t in ipairs(timeouts) do
        bad_argument(2, "try_send", function() c:try_send("x", t) end)
      end
      assert.equal(0, #c)
    end)

    it("add, wait and go of a WaitGroup", function()
      local wg = goro.WaitGroup()
      for _, n in ipairs { "x", 1.5, nan, math.huge, {}, true } do
        bad_argument(1, "add", function() wg:add(n) end)
      end
      for _, t in ipairs(timeouts) do
        bad_argument(1, "wait", function() wg:wait(t) end)
      end
      bad_argument(1, "go", function() wg:go() end)
      bad_argument(1, "go", function() wg:go(42) end)
      bad_argument(1, "go", function() wg:go({}) end)
      assert.is_true(wg:wait(0))
    end)

    it("methods of other objects, which say so", function()
      local c, wg = goro.chan(1), goro.WaitGroup()
      local others = { 42, "x", {}, true, print, io.stdout, coroutine.create(print) }
      local function refuses(name, method, other)
        local ok, err = pcall(method, other, 0)
        assert.is_false(ok)
        assert.truthy(err:find("bad argument #1", 1, true)
          or err:find("bad self", 1, true), name .. ": " .. err)
      end
      for _, name in ipairs { "send", "try_send", "recv", "try_recv", "close", "range", "len",
        "cap", "send_only", "recv_only" } do
        for _, other in ipairs(others) do refuses(name, c[name], other) end
        refuses(name, c[name], wg)
        refuses(name, c[name], nil)
        assert.is_false((pcall(c[name])))
      end
      for _, name in ipairs { "add", "done", "wait", "go" } do
        for _, other in ipairs(others) do refuses(name, wg[name], other) end
        refuses(name, wg[name], c)
        refuses(name, wg[name], nil)
        assert.is_false((pcall(wg[name])))
      end
    end)

    it("methods called with a dot, which name themselves and what they got", function()
      local c, wg = goro.chan(1), goro.WaitGroup()
      local err = bad_argument(1, "recv", function() c.recv(wg) end)
      assert.truthy(err:find("channel expected", 1, true), err)
      err = bad_argument(1, "wait", function() wg.wait(c) end)
      assert.truthy(err:find("WaitGroup expected", 1, true), err)
      bad_argument(1, "send", function() c.send("x") end)
      bad_argument(1, "done", function() wg.done() end)
    end)

    it("objects that have no such method", function()
      local c, wg = goro.chan(1), goro.WaitGroup()
      raises("wiat", function() wg:wiat() end)
      raises("recieve", function() c:recieve() end)
    end)

    it("objects' metatables, which nobody can change", function()
      local c, wg = goro.chan(1), goro.WaitGroup()
      for _, o in ipairs { c, wg } do
        assert.are_not.equal("table", type(getmetatable(o)))
        assert.is_false((pcall(setmetatable, o, {})))
        assert.is_false((pcall(function() o.field = 1 end)))
      end
    end)
  end)

  it("are refused in goroutines and coroutines as in the main script", function()
    local function body()
      local out = {}
      local function note(f)
        local _, err = pcall(f)
        out[#out + 1] = err
      end
      note(function() goro.chan(-1) end)
      note(function() goro.maxprocs(0) end)
      note(function() goro.chan():recv("x") end)
      note(function() goro.WaitGroup():done() end)
      return table.concat(out, "\n")
    end
    local expected = body()
    for _, text in ipairs { "bad argument #1 to 'chan'", "bad argument #1 to 'maxprocs'",
      "bad argument #1 to 'recv'", "negative WaitGroup counter" } do
      assert.truthy(expected:find(text, 1, true))
    end
    assert.equal(expected, (in_goroutine(body)))
    assert.equal(expected, coroutine.wrap(body)())
    assert.equal(expected, (in_goroutine(function() return coroutine.wrap(body)() end)))
  end)

  it("are told with the line that has them", function()
    local line = debug.getinfo(1, "l").currentline
    local _, err = pcall(function()
      goro.chan(-1)
    end)
    assert.truthy(err:find(("badinput_spec.lua:%d: bad argument #1 to 'chan'"):format(line + 2),
      1, true), err)
  end)
end)

describe("a value that cannot be sent #badinput", function()
  local file, thread, closure

  before_each(function()
    support.begin()
    file = assert(io.tmpfile())
    thread = coroutine.create(print)
    closure = ("x"):gmatch(".")          -- a C function with upvalues
  end)

  after_each(function()
    file:close()
    support.settled()
  end)

  it("raises in send, with its type", function()
    local c = goro.chan(1)
    raises("cannot send a value of type 'FILE*'", function() c:send(file) end)
    raises("cannot send a value of type 'thread'", function() c:send(thread) end)
    raises("cannot send a value of type", function() c:send(closure) end)
    raises("cannot send a value of type 'FILE*'", function() c:try_send(file) end)
    raises("cannot send a value of type 'FILE*'", function() c:try_send(file, 1) end)
    raises("cannot send a value of type", function() c:send(coroutine.wrap(print)) end)
    assert.equal(0, #c)
  end)

  it("tells the way to it", function()
    local c = goro.chan(1)
    local cases = {
      { { log = { handle = file } }, "(at .log.handle)" },
      { { 1, file }, "(at [2])" },
      { { ["a key"] = file }, "(at [\"a key\"])" },
      { { list = { 1, 2, { x = file } } }, "(at .list[3].x)" },
      { { [10] = file }, "(at [10])" },
      { { { { file } } }, "(at [1][1][1])" },
      { { ["1st"] = file }, "(at [\"1st\"])" },
      { { _a1 = file }, "(at ._a1)" },
      { function() return file end, "(at upvalue 'file')" },
    }
    for _, case in ipairs(cases) do
      raises("cannot send a value of type 'FILE*' " .. case[2], function() c:send(case[1]) end)
    end
    raises("cannot send a value of type 'thread' (at .job.co)", function()
      c:send({ job = { co = thread } })
    end)
    raises("upvalue 'thread'", function()
      c:send({ callback = function() return thread end })
    end)
    raises(".callback", function() c:send({ callback = function() return thread end }) end)
    raises("cannot send a value of type 'FILE*'", function() c:send({ [file] = 1 }) end)
    raises("cannot send a value of type 'FILE*'", function() c:send({ [{ file }] = 1 }) end)
    assert.equal(0, #c)
  end)

  it("tells of it however deep it lies", function()
    local c, t = goro.chan(1), { file }
    for _ = 1, 10000 do t = { t } end
    raises("cannot send a value of type 'FILE*'", function() c:send(t) end)
    assert.equal(0, #c)
  end)

  it("raises in go, and nothing is started", function()
    local n = goro.num_goroutine()
    local ran = goro.chan(1)
    raises("cannot send a value of type 'FILE*'", function()
      goro.go(function() ran:send(true) end, file)
    end)
    raises("cannot send a value of type 'FILE*' (at upvalue 'file')", function()
      goro.go(function()
        ran:send(true)
        return file
      end)
    end)
    raises("cannot send a value of type 'thread'", function()
      goro.go(function() ran:send(true) end, thread)
    end)
    raises("cannot send a value of type", goro.go, closure)
    assert.equal(n, goro.num_goroutine())
    assert.equal(0, #ran)
  end)

  it("raises in init and in select", function()
    local c = goro.chan(1)
    raises("cannot send a value of type 'FILE*' (at upvalue 'file')", function()
      goro.init(function() return file end)
    end)
    raises("cannot send a value of type 'FILE*'", function()
      goro.select { { send = c, value = { file } } }
    end)
    raises("cannot send a value of type 'thread'", function()
      goro.select { { send = c, value = thread }, default = true }
    end)
    assert.equal(0, #c)
  end)

  it("leaves the channel usable, and those who wait there waiting", function()
    local c, out = goro.chan(), goro.chan(1)
    goro.go(function()
      local v, ok = c:recv()
      out:send({ v, ok })
    end)
    all_blocked()
    for _, v in ipairs { file, thread, closure, { file }, { a = { thread } } } do
      assert.is_false((pcall(c.send, c, v)))
      assert.is_false((pcall(c.try_send, c, v)))
      assert.is_false((pcall(goro.select, { { send = c, value = v } })))
    end
    assert.equal(0, #out)
    c:send("good")
    assert.same({ "good", true }, (out:recv()))
  end)

  it("lets go of what was already read", function()
    local c = goro.chan(1)
    for _ = 1, support.many(2000) do
      pcall(c.send, c, { goro.chan(), ("x"):rep(1000), { {} }, file })
    end
    c:send({ "good" })
    assert.same({ "good" }, (c:recv()))
  end)

  it("raises in a goroutine as well, where it can be caught", function()
    local r = in_goroutine(function()
      local c = goro.chan(1)
      local f <close> = assert(io.tmpfile())
      local co = coroutine.create(print)
      local _, a = pcall(c.send, c, { log = { handle = f } })
      local _, b = pcall(function() c:send(co) end)
      c:send("usable")
      return { a, b, (c:recv()) }
    end)
    assert.truthy(r[1]:find("cannot send a value of type 'FILE*' (at .log.handle)", 1, true))
    assert.truthy(r[2]:find("cannot send a value of type 'thread'", 1, true))
    assert.equal("usable", r[3])
  end)

  it("may stand beside the value that is sent: further arguments are not looked at", function()
    local c = goro.chan(1)
    assert.is_true(c:send("x", file, thread))
    assert.equal("x", (c:recv()))
  end)

  it("that can be sent but not made on the other side raises there", function()
    package.loaded["goro spec nowhere"] = { f = function() return 1 end }
    local f = package.loaded["goro spec nowhere"].f
    local c, out = goro.chan(), goro.chan()
    goro.go(function()
      local ok, err = pcall(c.recv, c)
      out:send({ ok, tostring(err) })
      out:send((c:recv()))
    end)
    local sent, why = pcall(c.send, c, f)
    package.loaded["goro spec nowhere"] = nil
    assert.is_true(sent, why)
    local r = out:recv()
    assert.is_false(r[1])
    assert.truthy(r[2]:find("goro spec nowhere", 1, true), r[2])
    c:send("next")
    assert.equal("next", (out:recv()))
  end)
end)
