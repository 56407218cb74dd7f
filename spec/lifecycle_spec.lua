-- Whatever the goroutines do when the main script ends, the process ends at once, with the
-- status and the output the script has without them.  Each cell of the table is many processes
-- (GOROLIFE of them, 100 by default): see tests/lifecycle.sh.

local host = require("spec.support.host")

local states = {
  { "idle", "1,000 goroutines that have ended" },
  { "computing", "48 goroutines that compute" },
  { "blocked", "1,000 goroutines that wait or sleep" },
  { "execute", "20 goroutines in os.execute" },
  { "read", "20 goroutines in io.read" },
}

local endings = {
  { "return", "the main script returns" },
  { "error", "the main script raises" },
  { "exit", "the main script calls os.exit(n)" },
  { "exitclose", "the main script calls os.exit(n, true)" },
  { "goexit", "a goroutine calls os.exit(n)" },
  { "int", "SIGINT comes" },
  { "caught", "SIGINT comes and the main script catches it" },
  { "term", "SIGTERM comes" },
  { "host", "a C host calls lua_close" },
}

describe("the end of a process #lifecycle", function()
  for _, ending in ipairs(endings) do
    for _, state in ipairs(states) do
      it(("is clean when %s with %s"):format(ending[2], state[2]), function()
        local command = ("tests/lifecycle.sh %s %s 2>&1"):format(state[1], ending[1])
        if ending[1] == "host" then
          command = "GOROHOST=" .. assert(host.build("shared")) .. " " .. command
        end
        local pipe = assert(io.popen(command))
        local output = pipe:read("a")
        local ok = pipe:close()
        assert.equal("", output)
        assert.is_true(ok)
      end)
    end
  end
end)
