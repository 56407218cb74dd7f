-- Bugs that the soak, the histories and the chaos build found once.

local support = require("spec.support")
local script = require("spec.support.script")
local goro = require("goro")

describe("once a bug #regress", function()
  before_each(support.begin)
  after_each(support.settled)

  it("timers and tickers made in a goroutine have methods", function()
    local wg = goro.WaitGroup()
    local function use()
      local ticker, timer = goro.ticker(0.001), goro.timer(1000)
      ticker.c:recv()
      ticker:stop()
      assert(timer:stop() == true)
      assert(timer:reset(0.001) == false)
      timer.c:recv()
    end
    for _ = 1, 50 do wg:go(use) end                  -- with an image of their own
    for _ = 1, 3 do wg:go(function() use() end) end  -- through a stranger
    for i = 1, 3 do wg:go(function() return i, use() end) end
    wg:wait()
  end)

  it("finalisers of a goroutine that ends at a full stack have all of it #long", function()
    assert.equal("true\t1000\n", (script.ok([[
      local goro = require("goro")
      local up = goro.chan()
      goro.go(function()
        local function depth(n) return n == 0 and 0 or 1 + depth(n - 1) end
        local _ = setmetatable({}, { __gc = function() print(pcall(depth, 1000)) end })
        local can, cannot = 1000, 1000000
        while cannot - can > 1 do
          local n = (can + cannot) // 2
          if pcall(depth, n) then can = n else cannot = n end
        end
        local function park(n)
          if n > 0 then return 1 + park(n - 1) end
          up:send(true)
          goro.select {}
        end
        park(can - 100)
      end)
      up:recv()
    ]])))
  end)
end)
