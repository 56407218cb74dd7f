-- Singleflight: many goroutines ask for the same thing at once; one of them fetches it, all get
-- a copy of what it found.

local goro = require("goro")

local flight = goro.singleflight()
local calls = goro.Atomic()
local everyone = goro.WaitGroup()

-- Expensive, and pointless to do twice at the same time.
local function fetch(key)
  calls:add(1)
  goro.sleep(0.05)
  return { key = key, value = #key }
end

everyone:add(1)
local wg = goro.WaitGroup()
local answers = goro.chan(100)
for i = 1, 100 do
  wg:go(function()
    everyone:wait()                            -- all at once
    local key = i % 2 == 0 and "even" or "odd"
    answers:send(flight:run(key, fetch, key))
  end)
end
everyone:done()
wg:wait()
answers:close()

local sum = 0
for answer in answers:range() do sum = sum + answer.value end
print("100 answers, sum " .. sum)
print("calls: " .. calls:load())

-- Later it is fetched anew: what is shared is the flight, not the answer.
print(flight:run("odd", fetch, "odd").value, "calls: " .. calls:load())
