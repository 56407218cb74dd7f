-- The programs below examples/ print what they say they print.

local script = require("spec.support.script")

-- Runs an example, which must end well, and returns the lines it printed.
local function run(name)
  local result = script.command("tools/lua examples/" .. name)
  if result.code ~= 0 or result.err ~= "" then error(script.account(result), 2) end
  local lines = {}
  for line in result.out:gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  assert.equal(result.out, #lines > 0 and table.concat(lines, "\n") .. "\n" or "")
  return lines
end

-- The lines from i to j in alphabetical order.
local function sorted(lines, i, j)
  local part = table.move(lines, i or 1, j or #lines, 1, {})
  table.sort(part)
  return part
end

-- Each of the lines named comes later than the one before it.
local function in_order(lines, ...)
  local at = {}
  for i, line in ipairs(lines) do
    at[line] = i
  end
  local last
  for _, line in ipairs { ... } do
    assert.is_number(at[line], "no line " .. line)
    if last then
      assert.is_true(at[last] < at[line], ("%q does not come before %q"):format(last, line))
    end
    last = line
  end
end

describe("the example", function()
  it("01_hello runs a function beside the main script", function()
    assert.same({ "Hello, World!" }, run("01_hello.lua"))
  end)

  it("02_waitgroup goes on when all workers are done", function()
    local lines = run("02_waitgroup.lua")
    assert.same({
      "Worker 1 done", "Worker 1 starting",
      "Worker 2 done", "Worker 2 starting",
      "Worker 3 done", "Worker 3 starting",
      "Worker 4 done", "Worker 4 starting",
      "Worker 5 done", "Worker 5 starting",
    }, sorted(lines, 1, 10))
    assert.equal("All workers completed", lines[11])
    assert.same({
      "Worker 6 done", "Worker 6 starting",
      "Worker 7 done", "Worker 7 starting",
      "Worker 8 done", "Worker 8 starting",
    }, sorted(lines, 12, 17))
    assert.equal("All workers completed again", lines[18])
    assert.equal(18, #lines)
    for id = 1, 8 do
      in_order(lines, ("Worker %d starting"):format(id), ("Worker %d done"):format(id))
    end
  end)

  it("03_unbuffered sends a value only when the last one was received", function()
    local lines = run("03_unbuffered.lua")
    assert.same({
      "Received 0", "Received 1", "Received 2", "Sending 0", "Sending 1", "Sending 2",
    }, sorted(lines))
    in_order(lines, "Sending 0", "Sending 1", "Sending 2")
    in_order(lines, "Sending 0", "Received 0", "Received 1")
    in_order(lines, "Received 0", "Sending 2", "Received 2")
    in_order(lines, "Sending 1", "Received 1", "Received 2")
  end)

  it("04_buffered sends everything before anything is received", function()
    assert.same({
      "Sending 0", "Sending 1", "Sending 2",
      "3 values buffered",
      "Received 0", "Received 1", "Received 2",
    }, run("04_buffered.lua"))
  end)

  it("05_worker_pool prints one result for each job", function()
    assert.same({
      "Job 1 result: 5050", "Job 2 result: 20100", "Job 3 result: 45150",
      "Job 4 result: 80200", "Job 5 result: 125250", "Job 6 result: 180300",
      "Job 7 result: 245350", "Job 8 result: 320400", "Job 9 result: 405450",
    }, sorted(run("05_worker_pool.lua")))
  end)

  it("06_fetch_with_timeout gets what is fast and gives up what is slow", function()
    assert.same({
      "fast.example: data from fast.example",
      "slow.example: error: timeout",
      "recv: timeout",
    }, run("06_fetch_with_timeout.lua"))
  end)

  it("07_leak leaks ten goroutines, and ends the ten that have a way out", function()
    assert.same({
      "at first          1",
      "leaked           11",
      "waiting          21",
      "after cancel     11",
    }, run("07_leak.lua"))
  end)

  it("08_num_goroutine counts a thousand goroutines, and none afterwards", function()
    assert.same({
      "before      1",
      "during   1001",
      "after       1",
    }, run("08_num_goroutine.lua"))
  end)

  it("09_sequential_vs_concurrent is faster when it waits for all at once", function()
    local lines = run("09_sequential_vs_concurrent.lua")
    assert.equal(2, #lines)
    local sequential = tonumber(lines[1]:match("^sequential: (%d+%.%d%d%d) s$"))
    local concurrent = tonumber(lines[2]:match("^concurrent: (%d+%.%d%d%d) s$"))
    assert.is_true(sequential >= 1, lines[1])
    assert.is_true(concurrent >= 0.01, lines[2])
    assert.is_true(concurrent < sequential, table.concat(lines, "\n"))
  end)

  it("10_cpu_bound adds up what its workers found", function()
    assert.same({ "17984 primes up to 200000" }, run("10_cpu_bound.lua"))
  end)

  it("11_counter loses no count", function()
    assert.same({ "Atomic:\t1000", "Map:\t1000", "Mutex:\t1000" }, run("11_counter.lua"))
  end)

  it("12_with_timeout cancels what takes too long", function()
    assert.same({
      "Operation cancelled: context deadline exceeded", "done",
      "nil\tcontext deadline exceeded", "done",
    }, run("12_with_timeout.lua"))
  end)

  it("13_rate_limiter lets a burst through and then keeps the pace", function()
    assert.same({ "8 requests, 3 at once", "the rest at the limiter's pace:\ttrue" },
      run("13_rate_limiter.lua"))
  end)

  it("14_pipeline computes each value once and leaves nothing behind", function()
    assert.same({ "1000 squares, each right and only once:\ttrue", "goroutines left: 1" },
      run("14_pipeline.lua"))
  end)

  it("15_walk counts what find counts, and tells of what it cannot read", function()
    local lines = run("15_walk.lua spec")
    local dirs, files, bytes = lines[1]:match("^spec: (%d+) d%a+, (%d+) files, (%d+) bytes$")
    local found = script.command([[sh -c 'find spec -type d | wc -l; find spec -type f | wc -l;
      find spec -type f -exec cat {} + | wc -c']])
    assert.equal(found.out:gsub("%s+", " "), ("%s %s %s "):format(dirs, files, bytes))
    local result = script.command("tools/lua examples/15_walk.lua no/such/dir")
    assert.equal(1, result.code)
    assert.truthy(result.err:find("walk: .*no/such/dir"))
  end)

  it("16_pubsub delivers to every subscriber, and waits for none", function()
    assert.same({
      "slow has 1 message of 2",
      "ann hears goodbye", "ann hears hello",
      "bob hears goodbye", "bob hears hello", "bob hears rain",
    }, run("16_pubsub.lua"))
  end)

  it("17_singleflight fetches once for all who ask at the same time", function()
    local lines = run("17_singleflight.lua")
    assert.equal("100 answers, sum 350", lines[1])
    local calls = tonumber(lines[2]:match("^calls: (%d+)$"))
    assert.is_true(calls >= 2 and calls < 100, lines[2])
    assert.equal("3\tcalls: " .. calls + 1, lines[3])
  end)

  it("18_retry tries again what failed, and gives up at last", function()
    local lines = run("18_retry.lua")
    assert.equal(12, #lines)
    for i, line in ipairs(lines) do
      local bad = i % 7
      assert.equal(("job %2d: %s after %d tries"):format(i,
        bad < 5 and "value " .. i * i or "failed", math.min(bad + 1, 5)), line)
    end
  end)

  it("19_search stops everybody when one has found", function()
    assert.same({ "n * n % 10000019 == 1234321",
      "no such number:\ttrue\tcontext deadline exceeded" }, run("19_search.lua"))
  end)

  it("20_cache computes each value once, and forgets it in time #novalgrind", function()
    assert.same({ "misses: 10", "values kept: 10", "values kept later: 0" },
      run("20_cache.lua"))
  end)

  it("21_philosophers all have their meals", function()
    assert.same({ "5 philosophers had 1000 meals" }, run("21_philosophers.lua"))
  end)

  it("22_shutdown finishes what was begun and cancels what takes too long", function()
    assert.same({
      "got SIGTERM, shutting down",
      "some requests take too long: cancelled",
      "served 20, dropped 1",
    }, run("22_shutdown.lua"))
  end)
end)

describe("examples/json_server", function()
  local goro = require("goro")

  -- Starts it, asks for `targets` on one connection, and returns what it answered.
  local function ask(options, targets)
    local pipe = assert(io.popen("exec sh -c 'echo $$; exec tools/lua examples/json_server.lua "
      .. "--addr 127.0.0.1:0 " .. options .. "'"))
    local pid, answers = pipe:read("l"), {}
    local addr = assert(pipe:read("l")):match("^http://(.*)/$")
    local ok, err = pcall(function()
      local c <close> = assert(goro.net.dial(addr, 20))
      for i, target in ipairs(targets) do
        c:write("GET " .. target .. " HTTP/1.1\r\n\r\n")
        local status, length = assert(c:read_line(20)), nil
        for _ = 1, 2 do
          length = assert(c:read_line(20)):match("^Content%-Length: (%d+)$") or length
        end
        c:read_line(20)
        answers[i] = status:match("%d%d%d") .. " " .. assert(c:read_full(length + 0, 20))
      end
    end)
    os.execute("kill " .. pid)
    pipe:close()
    if not ok then error(err, 0) end
    return answers
  end

  for _, mode in ipairs { "", "--long-lived" } do
    it("answers each request with the right JSON " .. mode, function()
      local targets = {}
      for i = 1, 8 do targets[i] = "/order?items=" .. i end
      targets[9] = "/nothing"
      local answers = ask(mode, targets)
      for i = 1, 8 do
        local total = 0
        for k = 1, i do total = total + k * 1.5 * k end
        assert.equal("200", answers[i]:sub(1, 3))
        assert.truthy(answers[i]:find(('"total":%.1f'):format(total), 1, true), answers[i])
        assert.equal(i, select(2, answers[i]:gsub('"name"', "")))
      end
      assert.equal("404", answers[9]:sub(1, 3))
    end)
  end
end)

describe("the list of examples", function()
  it("in README.md has every one of them, and no other", function()
    local file = assert(io.open("examples/README.md"))
    local listed = {}
    for name, target in file:read("a"):gmatch("| %[([^%]]+)%]%(([^)]+)%)") do
      assert.equal(name, target)
      listed[#listed + 1] = name
    end
    file:close()
    table.sort(listed)
    local result = script.command("sh -c 'cd examples && LC_ALL=C ls *.lua'")
    assert.equal(table.concat(listed, "\n") .. "\n", result.out)
  end)
end)
