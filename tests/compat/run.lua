-- One module in N goroutines at once: tests/compat/run.lua name [N = 1000].  Each goroutine has
-- captured the module, and has it in its own state; all at the same moment work with it and check
-- what they get.  Tells whether there came to be an image with the module (docs/images.md).
-- Without arguments: the names.  tests/compat/run.sh runs all, each in a process.
local goro = require("goro")

local path = package.path
package.path = arg[0]:match("^(.*)/[^/]*$") .. "/?.lua;" .. path
local work = require("pure")                       -- those written in Lua; here, those in C
package.path = path
package.loaded.pure = nil

function work.lpeg(i)
  local lpeg = require("lpeg")
  local number = lpeg.R("09") ^ 1 / tonumber
  local list = lpeg.Ct(number * (lpeg.P(",") * number) ^ 0)
  for k = 1, 20 do
    local t = list:match(("%d,%d,%d"):format(i, k, i + k))
    assert(#t == 3 and t[3] == i + k)
  end
  local grammar = lpeg.P({ "E", E = lpeg.P("(") * lpeg.V("E") ^ 0 * ")" })
  assert(grammar:match(("("):rep(50) .. (")"):rep(50)) == 101)
end

function work.cjson(i)
  local cjson = require("cjson")
  for k = 1, 20 do
    local t = cjson.decode(cjson.encode({ id = i, list = { k, "x", cjson.null } }))
    assert(t.id == i and t.list[1] == k and t.list[3] == cjson.null)
  end
  assert(not pcall(cjson.decode, "{"))
end

function work.lfs(i)
  local lfs = require("lfs")
  local name = os.tmpname()
  for _ = 1, 5 do
    assert(lfs.attributes(name, "mode") == "file")
    assert(lfs.touch(name, i, i) and lfs.attributes(name, "modification") == i)
    local found
    for entry in lfs.dir("src") do found = found or entry == "proc.c" end
    assert(found)
  end
  os.remove(name)
end

work["socket"] = function(i)
  local socket = require("socket")
  local server = assert(socket.bind("127.0.0.1", 0))
  server:settimeout(20)
  local _, port = server:getsockname()
  local client = assert(socket.connect("127.0.0.1", port))
  local peer = assert(server:accept())
  client:send(("hello %d\n"):format(i))
  assert(peer:receive() == "hello " .. i)
  peer:send(("%d\n"):format(-i))
  assert(client:receive() == tostring(-i))
  client:close()
  peer:close()
  server:close()
  assert(socket.gettime() > 0)
end

work["socket.unix"] = function(i)
  local unix = require("socket.unix")
  local path = os.tmpname()
  os.remove(path)
  local a, b = assert(unix.dgram()), assert(unix.dgram())
  assert(a:bind(path))
  assert(b:connect(path))
  for k = 1, 5 do
    assert(b:send(("%d.%d"):format(i, k)))
    assert(a:receive() == ("%d.%d"):format(i, k))
  end
  a:close()
  b:close()
  os.remove(path)
end

work["lunbound"] = function()
  local ctx = assert(require("lunbound").new({ resolvconf = false, hoststxt = false }))
  local answer = assert(ctx:resolve("localhost", 1, 1))  -- (what libunbound knows by itself)
  assert(answer[1] == "\127\0\0\1")
end

work["mime"] = function(i)
  local mime = require("mime")
  assert(mime.unb64((mime.b64(("x"):rep(i)))) == ("x"):rep(i))
end

work["luasql.sqlite3"] = function(i)
  local env = assert(require("luasql.sqlite3").sqlite3())
  local db = assert(env:connect(":memory:"))
  assert(db:execute("create table t (a integer, b text)"))
  for k = 1, 10 do assert(db:execute(("insert into t values (%d, 'row %d')"):format(k, i))) end
  local cursor = assert(db:execute("select sum(a), max(b) from t"))
  local sum, text = cursor:fetch()
  assert(tonumber(sum) == 55 and text == "row " .. i)
  cursor:close()
  db:close()
  env:close()
end

work["DBI"] = function(i)
  local db = assert(require("DBI").Connect("SQLite3", ":memory:"))
  local st = assert(db:prepare("select ? + 1"))
  assert(st:execute(i))
  assert(st:fetch()[1] == i + 1)
  st:close()
  db:close()
end

work["ssl"] = function()
  local ssl = require("ssl")
  for _ = 1, 3 do
    local ctx = assert(ssl.newcontext({ mode = "client", protocol = "any", verify = "none",
      options = "all" }))
    assert(ctx)
  end
end

work["openssl"] = function(i)
  local digest = require("openssl.digest")
  local one = digest.new("sha256"):final("goro " .. i)
  assert(#one == 32 and one == digest.new("sha256"):final("goro " .. i))
  assert(#require("openssl.rand").bytes(16) == 16)
end

work["lyaml"] = function(i)
  local lyaml = require("lyaml")
  local t = lyaml.load(lyaml.dump({ { id = i, list = { 1, 2, "three" } } }))
  assert(t.id == i and t.list[3] == "three")
end

work["lxp"] = function(i)
  local lxp = require("lxp")
  local n, text = 0, ""
  local p = lxp.new({
    StartElement = function() n = n + 1 end,
    CharacterData = function(_, s) text = text .. s end,
  })
  assert(p:parse(("<a><b>%d</b><c/></a>"):format(i)))
  assert(p:parse())
  p:close()
  assert(n == 3 and text == tostring(i))
end

work["zlib"] = function(i)
  local zlib = require("zlib")
  local s = ("goro %d "):format(i):rep(50)
  local packed = zlib.deflate()(s, "finish")
  assert(zlib.inflate()(packed) == s and #packed < #s)
end

work["rex_pcre2"] = function(i)
  local rex = require("rex_pcre2")
  local a, b = rex.match(("key%d = value%d"):format(i, i), [[(\w+)\s*=\s*(\w+)]])
  assert(a == "key" .. i and b == "value" .. i)
  assert(rex.gsub("aXbXc", "X", function() return "-" end) == "a-b-c")
end

work["system"] = function()
  local system = require("system")
  local t = system.monotime()
  assert(system.monotime() >= t and system.gettime() > 1e9)
end

work["term"] = function()
  local term = require("term")
  assert(type(term.isatty(io.stdout)) == "boolean")
end

work["bit"] = function(i)
  local bit = require("bit")
  assert(bit.band(bit.bor(i, 1), 1) == 1 and bit.bxor(i, i) == 0)
end

work["cqueues"] = function(i)
  local cqueues = require("cqueues")
  local cq, sum = cqueues.new(), 0
  for k = 1, 3 do
    cq:wrap(function()
      cqueues.sleep(0.001)
      sum = sum + k * i
    end)
  end
  assert(cq:loop(20))
  assert(sum == 6 * i)
end

work["luv"] = function(i)
  local uv = require("luv")
  local n = 0
  local timer = uv.new_timer()
  timer:start(1, 0, function()
    n = n + i
    timer:close()
  end)
  uv.run()
  assert(n == i)
end

local name, n = arg[1], tonumber(arg[2]) or 1000
if not name then
  local names = {}
  for k in pairs(work) do names[#names + 1] = k end
  table.sort(names)
  print(table.concat(names, "\n"))
  return
end

if not os.execute(("%s -e 'require %q' >/dev/null 2>&1"):format(arg[-1] or "lua5.4", name)) then
  print("not installed")
  os.exit(3)
end
local module, f = require(name), work[name]
local function once(i)
  assert(module == require(name))
  f(i)
  goro.yield()
  f(i)
  collectgarbage()
end
for i = 1, 5 do goro.async(once, i):result() end   -- (the third makes the image)
local gate, wg = goro.chan(), goro.WaitGroup()
for i = 1, n do
  wg:go(function()
    gate:recv()                                    -- all at once
    once(i)
  end)
end
gate:close()
wg:wait()
local how = "no image"
for _, i in ipairs(goro.stats().module_images) do  -- (socket may be known as socket.core)
  if i.modules ~= "package" then how = i.reason or i.state end
end
print("ok (" .. how .. ")")
