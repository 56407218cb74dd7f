-- The simplest goroutine: a function call that runs beside the rest of the program.

local goro = require("goro")

local function say_hello(name)
  print(("Hello, %s!"):format(name))
end

goro.go(say_hello, "World")

-- When the main script ends, so do all goroutines, whatever they were doing.  To sleep and
-- hope is naive: see 02_waitgroup.lua for how to wait.
goro.sleep(0.5)
