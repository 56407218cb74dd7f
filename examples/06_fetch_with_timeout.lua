-- Time-out: select takes whichever comes first, the answer or the end of our patience.

local goro = require("goro")

-- Pretends to fetch a page that takes `seconds`.
local function fetch(url, seconds)
  goro.sleep(seconds)
  return "data from " .. url
end

local function fetch_with_timeout(url, seconds, limit)
  -- With room for one value the fetch can end even when nobody waits for it any more.
  local result = goro.chan(1)

  goro.go(function()
    result:send(fetch(url, seconds))
  end)

  return goro.select {
    { recv = result, function(data) return data end },
    { recv = goro.after(limit), function() return nil, "timeout" end },
  }
end

local function show(url, data, err)
  print(("%s: %s"):format(url, data or "error: " .. err))
end

show("fast.example", fetch_with_timeout("fast.example", 0.01, 5))
show("slow.example", fetch_with_timeout("slow.example", 5, 0.1))

-- For one channel alone, recv takes the time-out itself: value, ok, or nil, nil, reason.
local never = goro.chan()
local _, _, reason = never:recv(0.1)
print("recv: " .. reason)
