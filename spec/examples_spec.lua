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
      "after quit       11",
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
