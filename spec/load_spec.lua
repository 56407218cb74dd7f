-- require, loadfile and dofile compile a file once for all goroutines, and behave as Lua's own.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

-- What a script prints without goro, in a main script that requires it, and in goroutines.
local PLAIN <const> = [[
  local files = { %s }
  local function try(...)
    local t = table.pack(pcall(...))
    for i = 1, t.n do t[i] = tostring(t[i]):gsub("0x%%x+", "ADDRESS") end
    return table.concat(t, " | ")
  end
  local function all(print)
    for round = 1, 3 do
      for _, name in ipairs(files) do
        local f, err = loadfile(name)
        print("loadfile", try(function()
          if not f then return f, err end
          local i = debug.getinfo(f, "Slnu")
          -- (5.4.4 crashes when asked for the lines of a stripped function)
          if i.source == "=?" then return i.what, i.nups, i.isvararg end
          i.activelines = debug.getinfo(f, "L").activelines
          local lines = {}
          for line in pairs(i.activelines) do lines[#lines + 1] = line end
          table.sort(lines)
          return i.source, i.short_src, i.what, i.linedefined, i.nups, i.isvararg,
            table.concat(lines, ",")
        end))
        for _, mode in ipairs { "t", "b", "bt", "x", "tb" } do
          print("mode", mode, try(loadfile, name, mode))
        end
        print("env", try(function()
          local env = { seen = "here" }
          local f = loadfile(name, "bt", env)
          return f and select("#", f()), env.out
        end))
        print("no env", try(function()
          local f = loadfile(name, nil, nil)
          return f and pcall(f)
        end))
        print("dofile", try(dofile, name))
        print("yields", try(function()
          local co = coroutine.wrap(function() dofile(name) return "end" end)
          return co(), co()
        end))
      end
      package.path = DIR .. "/?.lua;" .. DIR .. "/?/init.lua"
      package.cpath = DIR .. "/?.so"
      for _, name in ipairs {
          "gl_good", "gl_bad", "gl_none", "gl.sub", "gl_dir", "gl_raises", "gl_nil", "gl_false",
          "gl_sets", "gl_no_library", "gl_empty", "gl.empty", "gl-empty", "utf8", "" } do
        package.loaded[name] = nil
        print("require", try(require, name))
        print("again", try(require, name), tostring(package.loaded[name]):gsub("0x%%x+", ""))
      end
      print("require", try(require, 7))
      for _, args in ipairs { {}, { false }, { "gl_nil\0x" } } do
        print("require", try(function() local m = require(table.unpack(args)) return m end))
      end
      local function changed(what, change, back)
        package.loaded.gl_good = nil
        change()
        print(what, try(require, "gl_good", "more"))
        back()
      end
      changed("preload", function() package.preload.gl_good = function(...) return ... end end,
        function() package.preload.gl_good = nil end)
      changed("preload's metatable", function()
        setmetatable(package.preload, { __index = function(_, name) return tostring end })
      end, function() setmetatable(package.preload, nil) end)
      local searchers = package.searchers
      local list = table.pack(table.unpack(searchers))
      changed("no searchers", function() package.searchers = nil end,
        function() package.searchers = searchers end)
      changed("other searchers",
        function() package.searchers = { list[1], list[3], list[2] } end,
        function() package.searchers = searchers end)
      changed("one more", function()
        table.insert(searchers, 1, function() return function(...) return "mine", ... end end)
      end, function() table.remove(searchers, 1) end)
      for _, path in ipairs { "", ";", DIR .. "/?.lua;", "?;?", DIR .. "/?/x/?.y", false, 1 } do
        package.path = path
        package.loaded.gl_good = nil
        print("path", path, try(require, "gl_good"))
        print("path", path, try(require, "a.b.c"))
      end
      package.path = DIR .. "/?.lua"
    end
  end
]]

local dir

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

-- The files' times are long past, but for what is written by a test itself.
local function age()
  assert(os.execute("find " .. script.quote(dir) .. " -exec touch -d '1 hour ago' {} +"))
end

describe("loading of files", function()
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -p " .. dir .. "/gl " .. dir .. "/gl_dir.lua"))
    write("gl_good.lua", "local name, file = ...\nout = seen\nreturn {\n  name, file }, 2, ...")
    write("gl_bad.lua", "return {\n  = }\n")
    write("gl_raises.lua", "#!/usr/bin/lua\n\nerror('raised in ' .. tostring(...))")
    write("gl_nil.lua", "return nil, 1")
    write("gl_false.lua", "return false")
    write("gl_sets.lua", "package.loaded[...] = 'set by itself'")
    write("gl_no_library.so", "this is no library")
    write("gl_empty.so", "")
    write("gl/empty.so", "")
    write("gl-empty.so", "")
    write("gl/sub.lua", "local x <const> = 1\nfor i = 1, 2 do\n  coroutine.isyieldable()\n" ..
      "end\nif coroutine.isyieldable() then coroutine.yield('yielded') end return x")
    write("gl_binary.lua", string.dump(load("return 'from bytes', ...", "=binary")))
    write("gl_stripped.lua", string.dump(load("return nowhere.there"), true))
    age()
  end)
  teardown(function() os.execute("rm -rf " .. script.quote(dir)) end)
  before_each(support.begin)
  after_each(support.settled)

  it("is Lua's own, in every result and every message", function()
    local names = {}
    for _, name in ipairs { "gl_good.lua", "gl_bad.lua", "gl_raises.lua", "gl/sub.lua",
        "gl_binary.lua", "gl_stripped.lua", "gl_none.lua", "gl_dir.lua" } do
      names[#names + 1] = ("%q"):format(dir .. "/" .. name)
    end
    local source = ("local DIR = %q\n"):format(dir) .. PLAIN:format(table.concat(names, ", "))
    local plain = script.run("-- without goro\n" .. source .. "all(print)")
    assert.equal("", plain.err)
    assert.is_true(#plain.out > 10000, script.account(plain))
    local host = script.run("local goro = require 'goro'\n" .. source .. "all(print)")
    assert.equal("", host.err)
    assert.equal(plain.out, host.out)
    -- In goroutines: the second finds what the first has compiled.
    local inside = script.run("local goro = require 'goro'\n" .. source .. [[
      for i = 1, 2 do
        local lines = goro.async(function()
          local lines = {}
          all(function(...)
            local t = table.pack(...)
            for i = 1, t.n do t[i] = tostring(t[i]) end
            lines[#lines + 1] = table.concat(t, "\t") .. "\n"
          end)
          return table.concat(lines)
        end):result()
        if i == 2 then io.write(lines) end
      end]])
    assert.equal("", inside.err)
    assert.equal(plain.out, inside.out)
  end)

  it("sees a changed file at once, also one of the same size", function()
    local name = dir .. "/gl_changing.lua"
    local body = goro.chan()
    local got = goro.chan()
    goro.go(function()
      for _ in body:range() do got:send(dofile(name)) end
    end)
    for i = 1, support.many(200) do
      local n = 1000 + i % 9000
      write("gl_changing.lua", "return " .. n)
      body:send(true)
      assert.equal(n, (got:recv()))
      if i % 2 == 0 then                           -- an old file is put in its place
        write("gl_other.lua", "return " .. -n)
        if i % 20 == 0 then
          assert(os.execute("touch -d '1 hour ago' " .. dir .. "/gl_other.lua"))
        end
        assert(os.rename(dir .. "/gl_other.lua", name))
        body:send(true)
        assert.equal(-n, (got:recv()))
      end
    end
    body:close()
  end)

  describe("finds files where they are now:", function()
    local root, templates

    local function sh(command, ...)
      assert(os.execute(("cd %s && " .. command):format(script.quote(root), ...)))
    end

    local function find(name) return package.searchpath(name or "gl_found", templates) end

    -- The answer is remembered (directories that have just changed are not trusted).
    local function remembered(name)
      local stop, hits = goro.now() + 20
      repeat
        hits = goro.stats().search_hits
        find(name)
        assert(goro.now() < stop, "it is never remembered")
      until goro.stats().search_hits > hits
    end

    before_each(function()
      root = os.tmpname()
      os.remove(root)
      assert(os.execute("mkdir -p " .. root .. "/a " .. root .. "/b " .. root .. "/other"))
      templates = ("%s/a/?.lua;%s/a/?/init.lua;%s/none/?.lua;%s/b/?.lua"):gsub("%%s", root)
      sh("echo return 1 > b/gl_found.lua")
    end)
    after_each(function() os.execute("rm -rf " .. script.quote(root)) end)

    it("the same answer, in the same words, without asking for each file", function()
      local file, text = find(), select(2, find("gl_nowhere"))
      assert.equal(root .. "/b/gl_found.lua", file)
      assert.equal(("no file '%s/a/gl_nowhere.lua'\n\tno file '%s/a/gl_nowhere/init.lua'\n\t" ..
        "no file '%s/none/gl_nowhere.lua'\n\tno file '%s/b/gl_nowhere.lua'"):gsub("%%s", root),
        text)
      for _, name in ipairs { "gl_found", "gl_nowhere" } do
        remembered(name)
        local before = goro.stats()
        for _ = 1, 10 do
          assert.same({ file, nil }, name == "gl_found" and { find() } or { file })
          if name ~= "gl_found" then assert.same({ nil, text }, { find(name) }) end
        end
        local after = goro.stats()
        assert.equal(after.searches - before.searches, after.search_hits - before.search_hits)
        assert.is_true(after.searches - before.searches >= 10)
      end
    end)

    it("one that appears earlier on the path, and one that goes away", function()
      local function each_way(make, name, unmake)
        remembered()
        sh(make)
        assert.equal(root .. name, (find()))
        remembered()
        assert.equal(root .. name, (find()))
        sh(unmake)
        assert.equal(root .. "/b/gl_found.lua", (find()))
      end
      each_way("touch a/gl_found.lua", "/a/gl_found.lua", "rm a/gl_found.lua")
      each_way("mkdir a/gl_found && touch a/gl_found/init.lua", "/a/gl_found/init.lua",
        "rm -r a/gl_found")
      each_way("mkdir none && touch none/gl_found.lua", "/none/gl_found.lua", "rm -r none")
      each_way("mkdir a/gl_found", "/b/gl_found.lua", "true")
      each_way("touch a/gl_found/init.lua", "/a/gl_found/init.lua", "rm a/gl_found/init.lua")
      remembered()
      sh("mv b/gl_found.lua other")
      assert.is_nil((find()))
      remembered()
      sh("mv other/gl_found.lua b")
      assert.equal(root .. "/b/gl_found.lua", (find()))
    end)

    it("through directories and links that are put in others' places", function()
      sh("mkdir c && touch c/gl_found.lua && ln -s other link && ln -s link/later.lua late.lua")
      templates = root .. "/link/?.lua;" .. templates
      remembered()
      sh("ln -s c new && mv -T new link")
      assert.equal(root .. "/link/gl_found.lua", (find()))
      remembered()
      sh("ln -s other new && mv -T new link")
      assert.equal(root .. "/b/gl_found.lua", (find()))
      remembered()
      sh("mv a old && mv c a")                     -- another directory of that name
      assert.equal(root .. "/a/gl_found.lua", (find()))
      sh("mv a c && mv old a")
      -- A link that leads nowhere: nothing changes here when its end appears.
      sh("ln -s %s/other/end.lua a/gl_found.lua", root)
      for _ = 1, 300 do assert.equal(root .. "/b/gl_found.lua", (find())) end
      goro.sleep(0.06)                             -- all has rested: it could be remembered now
      for _ = 1, 300 do assert.equal(root .. "/b/gl_found.lua", (find())) end
      sh("touch other/end.lua")
      assert.equal(root .. "/a/gl_found.lua", (find()))
    end)

    it("at once, while many ask", function()
      local stop, wg, seen = goro.Atomic(), goro.WaitGroup(), goro.Atomic()
      local one, two = root .. "/a/gl_found.lua", root .. "/b/gl_found.lua"
      for _ = 1, 4 do
        wg:go(function()
          repeat
            local file = package.searchpath("gl_found", templates)
            assert(file == one or file == two, file)
            seen:add(1)
            goro.yield()
          until stop:load() ~= 0
        end)
      end
      for i = 1, support.many(40) do
        if i % 6 == 0 then remembered() end
        io.open(one, "w"):close()
        assert.equal(one, (find()))
        if i % 6 == 3 then remembered() end
        os.remove(one)
        assert.equal(two, (find()))
      end
      stop:store(1)
      wg:wait()
      assert.is_true(seen:load() > 0)
    end)
  end)

  it("compiles a file once, whoever asks for it", function()
    write("gl_once.lua", "return " .. ("x or "):rep(50) .. "1")
    local name = dir .. "/gl_once.lua"
    local first = goro.stats().compiled
    repeat                                         -- a file just written is not kept yet
      goro.async(function() return dofile(name) end):result()
    until goro.stats().compiled > first
    local before = goro.stats()
    for _ = 1, 10 do
      goro.async(function() return dofile(name), type(loadfile(name)) end):result()
    end
    local after = goro.stats()
    assert.equal(1, after.compiled - first)
    assert.equal(20, after.compile_hits - before.compile_hits)
  end)

  it("leaves searchers of the script's own alone", function()
    local searchers = package.searchers
    local calls = goro.Atomic()
    table.insert(searchers, 2, function(name)
      if name ~= "gl_good" then return "\n\tnot by me" end
      calls:add(1)
      return function() return "mine" end
    end)
    local ok, found = pcall(support.in_goroutine, function() return require("gl_good") end)
    table.remove(searchers, 2)
    assert.is_true(ok, tostring(found))
    assert.equal("mine", found)
    assert.equal(1, calls:load())
  end)

  it("by many goroutines at once gives each its own functions", function()
    local path = package.path
    package.path = dir .. "/?.lua;" .. path
    local wg = goro.WaitGroup()
    local sum = goro.Atomic()
    for i = 1, support.many(200) do
      wg:go(function()
        local sub = dofile(dir .. "/gl/sub.lua")
        local t = require("gl_good")
        assert(t[1] == "gl_good" and t[2]:find("gl_good.lua", 1, true))
        t[1] = i
        sum:add(sub)
      end)
    end
    package.path = path
    wg:wait()
    assert.equal(support.many(200), sum:load())
  end)

  it("says where a module was asked for in vain, and once that it is 'require'", function()
    local function ask()
      local ok, message = pcall(function() return (require("no.such.module")) end)
      return ok, message, select(2, xpcall(function() return (require("no.such.module")) end,
        debug.traceback))
    end
    local function check(ok, message, trace)
      assert.is_false(ok)
      assert.matches("^spec/load_spec%.lua:%d+: module 'no%.such%.module' not found:\n"
        .. "\tno field package%.preload%['no%.such%.module'%]\n\tno file '", message)
      local _, n = trace:gsub("%[C%]: in %l+ 'require'", "")
      assert.equal(1, n, trace)
      assert.matches("\n\t%[C%]: in %l+ 'require'\n\tspec/load_spec%.lua:", trace)
    end
    check(ask())
    check(select(2, goro.async(ask):wait()))
  end)
end)
