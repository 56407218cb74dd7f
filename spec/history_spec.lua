-- Random programs over channels and sync, with checked histories (tests/history); and histories
-- that were tampered with, which the checks must refuse.

local support = require("spec.support")
package.path = "tests/history/?.lua;" .. package.path
local channels = require("channels")
local sync = require("sync")
local shrink = require("shrink")

describe("a history #history", function()
  before_each(support.begin)
  after_each(support.settled)

  local seed = tonumber(os.getenv("GOROHISTORYSEED")) or os.time()

  for name, kind in pairs({ channels = channels, sync = sync }) do
    it("of random programs is in order: " .. name, function()
      for n = 1, support.many(150) do
        math.randomseed(seed, n)
        local program = kind.random(6, 8)
        local wrong = kind.try(program)
        if wrong then
          error(("GOROHISTORYSEED=%d, program %d: %s\n%s"):format(
            seed, n, wrong, kind.text(program)))
        end
      end
    end)
  end

  local function record(kind, g, v, from, to)
    return { kind = kind, g = g, c = 1, v = v, from = from, to = to, ok = kind:find(" none") }
  end
  local function send(...) return record("send", ...) end
  local function recv(...) return record("recv", ...) end
  local function close(...) return record("close", 9, nil, ...) end
  local function shut(...) return record("recv closed", 8, nil, ...) end

  local good = { send(1, 1001, 1, 2), send(1, 1002, 3, 4), recv(2, 1001, 5, 6), recv(3,
      1002, 7, 8),
    close(9, 10), shut(11, 12) }

  it("that is right is accepted", function()
    assert.is_nil(channels.check({ caps = { 2 } }, good))
    assert.is_nil(channels.check({ caps = { 0 } }, { send(1, 1, 1, 4), recv(2, 1, 2, 3),
      close(5, 6) }))
  end)

  local wrong = {
    ["lost"] = { send(1, 1001, 1, 2), close(3, 4) },
    ["twice"] = { send(1, 1001, 1, 2), recv(2, 1001, 3, 4), recv(2, 1001, 5, 6) },
    ["from nowhere"] = { recv(2, 1001, 3, 4) },
    ["received before it was sent"] = { recv(2, 1001, 1, 2), send(1, 1001, 3, 4) },
    ["overtaken"] = { send(1, 1001, 1, 2), send(1, 1002, 3, 4), recv(2, 1002, 5, 6),
      recv(2, 1001, 7, 8) },
    ["more than 2 values"] = { send(1, 1, 1, 2), send(1, 2, 3, 4), send(1, 3, 5, 6),
      recv(2, 1, 7, 8), recv(2, 2, 9, 10), recv(2, 3, 11, 12) },
    ["sent after close"] = { close(1, 2), send(1, 1001, 3, 4), recv(1, 1001, 5, 6) },
    ["not closed yet"] = { shut(1, 2), close(3, 4) },
    ["closed while it holds"] = { send(1, 1001, 1, 2), close(3, 4), shut(5, 6),
      recv(2, 1001, 7, 8) },
    ["found nothing"] = { send(1, 1001, 1, 2), record("recv none", 3, nil, 3, 4),
      recv(2, 1001, 5, 6) },
    ["found no room"] = { record("send none", 3, nil, 3, 4) },
  }
  for text, log in pairs(wrong) do
    it("that is wrong is refused: " .. text, function()
      local what = channels.check({ caps = { 2 } }, log)
      assert(what and what:find(text, 1, true), what)
    end)
  end

  it("of an unbuffered channel is refused if a send ended alone", function()
    local what = channels.check({ caps = { 0 } }, { send(1, 1, 1, 2), recv(2, 1, 3, 4) })
    assert(what and what:find("unbuffered", 1, true), what)
  end)

  it("of a lock that two held is refused", function()
    local function op(name, from, to, ...)
      return { name = name, args = { n = 1 }, results = table.pack(...), begun = from,
      ended = to }
    end
    local log = { op("lock", 1, 2, true), op("lock", 3, 4, true), op("unlock", 5, 6),
      op("unlock", 7, 8) }
    assert.is_false(sync.linear("Mutex", log))
    log[2].ended = 7
    assert.is_true(sync.linear("Mutex", log))
    log = { op("rlock", 1, 2, true), op("lock", 3, 4, true), op("runlock", 5, 6),
      op("unlock", 7, 8) }
    assert.is_false(sync.linear("RWMutex", log))
  end)

  it("that fails is made small", function()
    math.randomseed(1)
    local program = channels.random(6, 8)
    program.bodies[2][3] = { "close", 1 }
    local function fails(p)
      for _, body in ipairs(p.bodies) do
        for _, op in ipairs(body) do
          if op[1] == "close" then return true end
        end
      end
      return false
    end
    local small = shrink(program, fails)
    local ops = 0
    for _, body in ipairs(small.bodies) do ops = ops + #body end
    assert.equal(1, #small.bodies)
    assert.equal(1, ops)
  end)
end)
