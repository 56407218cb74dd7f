-- A C program may open several Lua states that require goro: one after another, at the same
-- time in one thread or in several.  Closing a state ends its goroutines, before lua_close
-- returns, and no others; when the last state is closed the threads are gone.

local host = require("spec.support.host")
local script = require("spec.support.script")

local modes = {
  { "plain", "may load goro and start nothing" },
  { "series 200", "may be opened and closed 200 times, with goroutines at each end" },
  { "pair", "may live at the same time in one thread and be closed in either order" },
  { "panics", "get the panics of their own goroutines only" },
  { "deadlocks", "get their own deadlocks, whatever another state's goroutines do" },
  { "signals", "each hear of a signal, the rest also when one has been closed" },
  { "threads 4 50", "may live in four threads" },
  { "moved", "may be opened in one thread and closed in another" },
  { "coroutine", "may run the script inside a coroutine" },
}

for _, kind in ipairs { "shared", "static" } do
  describe(("states of a C host, liblua %s #host #notsan"):format(kind), function()
    local program

    setup(function() program = assert(host.build(kind)) end)

    for _, mode in ipairs(modes) do
      it(mode[2], function()
        local result = script.command(program .. " " .. mode[1], { limit = 60 })
        assert(result.code == 0, script.account(result))
        assert.equal("ok\n", result.out)
        if mode[1] ~= "panics" then assert.equal("", result.err) end
      end)
    end

    it("may each run a script of their own, with arguments", function()
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write [[
        local goro = require("goro")
        local c = goro.chan()
        goro.go(function(...) c:send(table.concat({ ... }, "+") .. arg[2]) end, ...)
        print((c:recv()))
      ]]
      file:close()
      local result = script.command(program .. " one " .. path .. " a b")
      os.remove(path)
      assert(result.code == 0, script.account(result))
      assert.equal("a+bb\n", result.out)
      assert.equal("", result.err)
    end)
  end)
end
