-- Worker pool with retries: a job that fails is tried again later, after a pause that doubles
-- each time and is a little random, until it succeeds or has failed too often.

local goro = require("goro")

local WORKERS <const>, TRIES <const>, PAUSE <const> = 4, 5, 0.002

-- Fails as often as the job says, before it succeeds.
local function attempt(job)
  if job.tries <= job.bad then error("no luck with job " .. job.id, 0) end
  return job.id * job.id
end

local function worker(jobs, results)
  for job in jobs:range() do
    job.tries = job.tries + 1
    local ok, v = pcall(attempt, job)
    if ok then
      results:send { job = job, value = v }
    elseif job.tries == TRIES then
      results:send { job = job, err = v }
    else
      -- The worker is free for other jobs meanwhile: a timer brings this one back.
      local pause = PAUSE * 2 ^ (job.tries - 1) * (0.5 + math.random())
      goro.after_func(pause, function() jobs:send(job) end)
    end
  end
end

local jobs, results = goro.chan(100), goro.chan()
for _ = 1, WORKERS do goro.go(worker, jobs, results) end

local JOBS <const> = 12
for id = 1, JOBS do
  jobs:send { id = id, bad = id % 7, tries = 0 }   -- jobs 5, 6, 12 fail 5 times and more
end

local lines = {}
for _ = 1, JOBS do
  local r = results:recv()
  lines[#lines + 1] = ("job %2d: %s after %d tries"):format(r.job.id,
    r.err and "failed" or "value " .. r.value, r.job.tries)
end
jobs:close()
table.sort(lines)
print(table.concat(lines, "\n"))
