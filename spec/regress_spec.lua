-- Bugs that the soak, the histories and the chaos build found once.

local support = require("spec.support")
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
end)
