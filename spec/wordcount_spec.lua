-- examples/wordcount.lua: with any number of workers, and without goroutines, the same counts.

local script = require("spec.support.script")

local quote = script.quote

local function wordcount(args)
  return script.command("tools/lua examples/wordcount.lua " .. args)
end

-- The output of a run that must end well, without the lines that tell times.
local function counts(args)
  local result = wordcount(args)
  if result.code ~= 0 or result.err ~= "" then error(script.account(result), 2) end
  local kept = {}
  for line in result.out:gmatch("[^\n]+") do
    if not line:find("^ *%d+%.%d+ [sx]  ") then kept[#kept + 1] = line end
  end
  return table.concat(kept, "\n")
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- A text of 40 words, which differs from seed to seed; a third of them are the same.
local function text(seed)
  local words = {}
  for i = 1, 40 do
    words[i] = i % 3 == 0 and "The" or "w" .. string.char(97 + i * seed % 26)
  end
  return table.concat(words, "\n", 1, 20) .. table.concat(words, " ", 21)
end

describe("wordcount", function()
  local dir

  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    for _, sub in ipairs { "", "/a", "/a/b c", "/it's" } do
      assert(os.execute("mkdir " .. quote(dir .. sub)))
    end
    local names = {
      "two words.txt", "new\nline.txt", "it's.txt", '"quoted".txt', "$(echo x)", "`id`",
      "back\\slash", "*", "?", "-n", "--plain", "!", "(", ";ls", " leading", "trailing ",
      "\xff\xfe", "#", "~", "%s",
    }
    for i, name in ipairs(names) do
      write(dir .. "/a/b c/" .. name, text(i))
    end
    for i = 1, 200 do
      write(("%s/it's/%d"):format(dir, i), text(i))
    end
    write(dir .. "/a/known", "one two two THREE three Three four4four four-four\n")
    write(dir .. "/a/empty", "")
    write(dir .. "/a/early NUL", "never\0counted")
    write(dir .. "/a/late NUL", ("never counted "):rep(1000) .. "\0")
    write(dir .. "/a/large", ("lorem ipsum "):rep(100000))
    assert(os.execute("ln -s known " .. quote(dir .. "/a/link")))
    assert(os.execute("mkfifo " .. quote(dir .. "/a/pipe")))
  end)

  teardown(function()
    os.execute("rm -rf " .. quote(dir))
  end)

  it("counts the words of one file", function()
    assert.equal(table.concat({
      "           4  four",
      "           3  three",
      "           2  two",
      "           1  one",
      "          10  words, 4 different",
      "           1  files, 0 skipped",
      "          50  bytes",
    }, "\n"), counts(quote(dir .. "/a/known")))
  end)

  it("finds files whatever their names, and skips what is binary or no file", function()
    local out = counts("-n 2 " .. quote(dir))
    assert.truthy(out:find("\n         223  files, 2 skipped\n", 1, true), out)
    assert.truthy(out:find("     100,000  ipsum\n     100,000  lorem\n", 1, true), out)
    assert.falsy(out:find("never", 1, true), out)
  end)

  it("takes paths that look like options", function()
    local inside = quote(dir .. "/a/b c")
    local command = ("root=$PWD; cd %s && exec \"$root/tools/lua\" "
      .. "\"$root/examples/wordcount.lua\" -n 1 -- -n --plain '!' '('"):format(inside)
    local result = script.command("sh -c " .. quote(command))
    assert.equal("", result.err)
    assert.truthy(result.out:find("\n           4  files, 0 skipped\n", 1, true), result.out)
  end)

  for _, workers in ipairs { 1, 2, 8 } do
    local what = workers == 1 and "1 worker" or workers .. " workers"

    it("counts with " .. what .. " as without goroutines, on files of all names", function()
      local tree = quote(dir)
      assert.equal(counts("--plain " .. tree), counts(("-n %d %s"):format(workers, tree)))
    end)

    it("counts with " .. what .. " as without goroutines, on the common licenses", function()
      local licenses = "/usr/share/common-licenses"
      local plain = wordcount("--plain " .. licenses)
      if plain.code == 1 then
        pending("this system has no " .. licenses)
        return
      end
      local pooled = counts(("-n %d %s"):format(workers, licenses))
      assert.equal(counts("--plain " .. licenses), pooled)
    end)
  end

  it("has more workers than files", function()
    local known = quote(dir .. "/a/known")
    assert.equal(counts("--plain " .. known), counts("-n 50 " .. known))
  end)

  it("prints nothing but zeros where there are no words", function()
    assert.equal(table.concat({
      "           0  words, 0 different",
      "           1  files, 0 skipped",
      "           0  bytes",
    }, "\n"), counts("-n 2 " .. quote(dir .. "/a/empty")))
  end)

  it("prints the speed-up over one worker with --compare", function()
    local args = "-n 2 --compare " .. quote(dir)
    local result = wordcount(args)
    assert.equal(0, result.code, script.account(result))
    assert.truthy(result.out:find("\n +%d+%.%d%d%d s  2 workers\n +%d+%.%d%d%d s  "
      .. "1 worker on one CPU\n +%d+%.%d%d x  speed%-up\n$"), result.out)
    assert.equal(counts("--plain " .. quote(dir)), counts(args))
  end)

  it("prints its usage when asked, and after a wrong option exits with status 2", function()
    local help = wordcount("--help")
    assert.equal(0, help.code)
    assert.equal("", help.err)
    assert.truthy(help.out:find("^usage: wordcount.lua "))

    local complaints = {
      ["--foo"] = "unknown option '--foo'",
      ["-x"] = "unknown option '-x'",
      ["-n"] = "-n needs a number",
      ["-n 0"] = "-n needs a number from 1 to 9999, not '0'",
      ["-n two"] = "-n needs a number from 1 to 9999, not 'two'",
      ["-n-1"] = "-n needs a number from 1 to 9999, not '-1'",
      ["--plain -n 2"] = "--plain has no workers: it goes with neither -n nor --compare",
    }
    for args, complaint in pairs(complaints) do
      local result = wordcount(args)
      assert.equal(2, result.code)
      assert.equal("", result.out)
      assert.equal("wordcount: " .. complaint .. "\n" .. help.out, result.err)
    end
  end)

  it("names a path that does not exist, and exits with status 1", function()
    local path = dir .. "/no such"
    local result = wordcount(quote(dir) .. " " .. quote(path))
    assert.equal(1, result.code)
    assert.equal("", result.out)
    assert.equal(("wordcount: '%s': no such file or directory\n"):format(path), result.err)
  end)
end)
