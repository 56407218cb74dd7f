-- Under valgrind short programs run without a memory error, and lose nothing, whatever their
-- goroutines do at the end: see tests/valgrind.sh.

describe("valgrind finds nothing to complain about #valgrind #nosan #nostress", function()
  if not os.execute("command -v valgrind >/dev/null") then
    pending("valgrind is not installed")
    return
  end

  local list = assert(io.popen("tests/valgrind.sh -l"))
  for name in list:lines() do
    it("in the program '" .. name .. "'", function()
      local pipe = assert(io.popen("tests/valgrind.sh " .. name .. " 2>&1"))
      local output = pipe:read("a")
      local ok = pipe:close()
      assert.equal("", output)
      assert.is_true(ok)
    end)
  end
  list:close()

  it("where no images are, and the same function is loaded again and again", function()
    local pipe = assert(io.popen("GOROIMAGE=0 tests/valgrind.sh blocked 2>&1"))
    local output = pipe:read("a")
    local ok = pipe:close()
    assert.equal("", output)
    assert.is_true(ok)
  end)
end)
