-- Worker pool: a fixed number of goroutines takes jobs from one channel and sends results to
-- another.

local goro = require("goro")

local WORKERS <const> = 3

local function worker(jobs, results)
  for job in jobs:range() do
    local sum = 0
    for i = 0, job.value do
      sum = sum + i
    end
    results:send({ job = job, sum = sum })
  end
end

local jobs = goro.chan(10)
local results = goro.chan(10)
local wg = goro.WaitGroup()

for _ = 1, WORKERS do
  wg:go(worker, jobs:recv_only(), results:send_only())
end

-- Send the jobs; to close the channel tells the workers that there are no more.
goro.go(function()
  for id = 1, 9 do
    jobs:send({ id = id, value = id * 100 })
  end
  jobs:close()
end)

-- Close the results when all workers have finished.
goro.go(function()
  wg:wait()
  results:close()
end)

-- Tables are copied when they are sent, so a result brings its job along.
for result in results:range() do
  print(("Job %d result: %d"):format(result.job.id, result.sum))
end
