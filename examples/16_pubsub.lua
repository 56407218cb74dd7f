-- Publish and subscribe: one goroutine owns the list of subscribers, everybody talks to it over
-- a channel.  A subscriber that is too slow loses messages, and holds up nobody.

local goro = require("goro")

-- The broker's loop.  `commands` carries { subscribe = ch }, { unsubscribe = ch } and
-- { topic = name, message = v }.
local function broker(commands)
  local topics = {}
  for c in commands:range() do
    local subscribers = topics[c.topic] or {}
    topics[c.topic] = subscribers
    if c.subscribe then
      subscribers[c.subscribe] = true          -- a channel is a fine table key
    elseif c.unsubscribe then
      subscribers[c.unsubscribe] = nil
    else
      for ch in pairs(subscribers) do
        ch:try_send(c.message)
      end
    end
  end
  for _, subscribers in pairs(topics) do       -- closed: so are all who listen
    for ch in pairs(subscribers) do ch:close() end
  end
end

local Broker = {}
Broker.__index = Broker

function Broker.new()
  local commands = goro.chan()
  goro.go(broker, commands)
  return setmetatable({ commands = commands }, Broker)
end

function Broker:subscribe(topic, room)
  local ch = goro.chan(room or 16)
  self.commands:send { topic = topic, subscribe = ch }
  return ch
end

function Broker:unsubscribe(topic, ch)
  self.commands:send { topic = topic, unsubscribe = ch }
end

function Broker:publish(topic, message)
  self.commands:send { topic = topic, message = message }
end

function Broker:close()
  self.commands:close()
end

local bus = Broker.new()
local wg = goro.WaitGroup()
local lines = goro.chan(100)

local function listen(name, ch)
  for message in ch:range() do
    lines:send(name .. " hears " .. message)
  end
end

wg:go(listen, "ann", bus:subscribe("news"))
wg:go(listen, "bob", bus:subscribe("news"))
wg:go(listen, "bob", bus:subscribe("weather"))
local slow = bus:subscribe("news", 1)          -- nobody reads it: one message is kept

local publisher = goro.async(function()        -- an object of a class crosses as one
  bus:publish("news", "hello")
  bus:publish("weather", "rain")
  bus:publish("news", "goodbye")
end)
publisher:result()
print("slow has " .. #slow .. " message of 2")
bus:unsubscribe("news", slow)
bus:close()
wg:wait()
lines:close()

local heard = {}
for line in lines:range() do heard[#heard + 1] = line end
table.sort(heard)
print(table.concat(heard, "\n"))
