-- What is done with each module that is written in Lua, or for the most part (run.lua): as run.lua's
-- `work`, f(i) requires the module in its own state, works with it and checks what it gets.
local work = {}

work["re"] = function(i)
  local re = require("re")
  local pair = re.compile("{ %a+ } ' ' { %d+ }")
  local list = re.compile([[ list <- {| item (',' item)* |}   item <- { %d+ } -> tonumber ]],
    { tonumber = tonumber })
  for k = 1, 5 do
    local word, number = pair:match("goro " .. i + k)
    assert(word == "goro" and number == tostring(i + k))
    assert(list:match("1," .. i .. "," .. k)[2] == i)
  end
  assert(re.gsub("hello World", "[aeiou]", "-") == "h-ll- W-rld")
  assert(not pcall(re.compile, "'"))
end

work["dkjson"] = function(i)
  local json = require("dkjson")
  for k = 1, 5 do
    local t = json.decode(json.encode({ id = i, list = { k, "x", json.null }, s = "\u{e9}\n" }))
    assert(t.id == i and t.list[1] == k and t.list[2] == "x" and t.s == "\u{e9}\n")
  end
  local v, _, err = json.decode("{ \"a\": ")
  assert(v == nil and err)
  local ordered = setmetatable({ b = 1, a = 2 }, { __jsonorder = { "b", "a" } })
  assert(json.encode(ordered) == '{"b":1,"a":2}')
end

work["pl.List"] = function(i)
  local List = require("pl.List")
  local l = List { 3, i, 1 }:append(2):sort()
  assert(#l == 4 and List.is_a(l, List) and l:map(function(x) return x + 1 end):len() == 4)
  assert(tostring(List.range(1, 3)) == "{1,2,3}" and (List { 1 } .. List { 2 })[2] == 2)
end

work["pl.class"] = function(i)
  local class = require("pl.class")
  local Animal = class()
  function Animal:_init(name) self.name = name end
  function Animal:__tostring() return self.name .. ": " .. self:speak() end
  local Dog = class(Animal)
  function Dog:speak() return "bark " .. i end              -- luacheck: ignore 212
  local d = Dog("Rex")
  assert(tostring(d) == "Rex: bark " .. i and d:is_a(Animal) and Animal:class_of(d))
  class.Cat(Animal)
  assert(not d:is_a(class()))
end

work["pl.pretty"] = function(i)
  local pretty = require("pl.pretty")
  local t = pretty.read(pretty.write({ id = i, list = { 1, 2, { "x" } } }))
  assert(t.id == i and t.list[3][1] == "x")
  assert(pretty.number(2048, "M") == "2.0KiB")
end

work["pl.OrderedMap"] = function(i)
  local OrderedMap = require("pl.OrderedMap")
  local m = OrderedMap()
  m:set("z", i):set("a", 2):set("m", 3)
  assert(m:keys():concat() == "zam" and m:values()[1] == i)
  m:set("a", nil)
  assert(tostring(m) == ("{z=%d,m=3}"):format(i))
end

work["pl.Set"] = function(i)
  local Set = require("pl.Set")
  local a, b = Set { 1, 2, i + 10 }, Set { 2, 3 }
  assert(Set.len(a + b) == 4 and (a * b) == Set { 2 } and (a - b)[i + 10] and not (a - b)[2])
end

work["pl.func"] = function(i)
  local func = require("pl.func")
  local _1, _2 = func._1, func._2                             -- keyed by tables
  assert(func.I(_1 + _2 * i)(1, 2) == 1 + 2 * i)
  assert(func.bind(math.max, 5, _1)(i + 10) == i + 10)
end

work["pl.seq"] = function(i)
  local seq = require("pl.seq")
  local tablex = require("pl.tablex")
  assert(seq.sum(seq.map(function(x) return x * i end, seq.list { 1, 2, 3 })) == 6 * i)
  assert(tablex.deepcompare(tablex.deepcopy { a = { i } }, { a = { i } }))
  assert(seq.copy(seq.filter(seq.range(1, 10), function(x) return x > 8 end)):len() == 2)
end

work["pl.data"] = function(i)
  local data = require("pl.data")
  local stringio = require("pl.stringio")
  local d = data.read(stringio.open(("name,n\nx,%d\ny,2\n"):format(i)))
  assert(#d == 2 and d[1][2] == i and d:column_by_name("n")[2] == 2)
  assert(d:select("name where n > 0")() == "x")
end

work["pl.template"] = function(i)
  local template = require("pl.template")
  local out = assert(template.substitute("# for k = 1, 2 do\n$(k) of $(i)\n# end\n",
    { i = i }))
  assert(out:gsub("%s+", " ") == ("1 of %d 2 of %d "):format(i, i))
end

work["pl.xml"] = function(i)
  local xml = require("pl.xml")
  local doc = xml.parse(("<a x='%d'><b>hello</b><c/></a>"):format(i))
  assert(doc.attr.x == tostring(i) and #doc == 2 and doc[1][1] == "hello")
  assert(xml.tostring(xml.parse(xml.tostring(doc))) == xml.tostring(doc))
end

work["pl.sip"] = function(i)
  local sip = require("pl.sip")
  local t = {}
  assert(sip.compile("$v{name} = $i{n}")(("size = %d"):format(i), t))
  assert(t.name == "size" and t.n == i)
end

work["pl.lexer"] = function(i)
  local lexer = require("pl.lexer")
  local kinds = {}
  for kind in lexer.lua(("local x = %d + 'y' -- z"):format(i)) do kinds[#kinds + 1] = kind end
  assert(table.concat(kinds, " "):find("^keyword iden = number %+ string"))
end

work["pl.Date"] = function(i)
  local Date = require("pl.Date")
  local d = Date { year = 2024, month = 2, day = 28 }
  assert(d:add { day = i % 2 + 1 }:month() == (i % 2 == 0 and 2 or 3))
  assert(Date.Format("yyyy-mm-dd"):parse("2024-05-06"):day() == 6)
end

work["pl.path"] = function()
  local path = require("pl.path")
  local dir, text = require("pl.dir"), require("pl.text")
  assert(path.isfile("src/proc.c") and path.extension("a/b.tar") == ".tar")
  assert(path.normpath("a/./b/../c") == "a/c" and #dir.getfiles("src", "proc.c") == 1)
  assert(text.format_operator and require("pl.stringx").strip("  x ") == "x")
end

work["ltn12"] = function(i)
  local ltn12 = require("ltn12")
  local out = {}
  local upper = function(s) return s and s:upper() end
  assert(ltn12.pump.all(ltn12.source.string("goro " .. i),
    ltn12.sink.chain(upper, (ltn12.sink.table(out)))))
  assert(table.concat(out) == "GORO " .. i)
end

work["socket.url"] = function(i)
  local url = require("socket.url")
  local u = url.parse(("http://user@host:%d/a/b?x=1#f"):format(i))
  assert(u.host == "host" and u.port == tostring(i) and u.query == "x=1")
  assert(url.absolute("http://h/a/b", "../c") == "http://h/c")
  assert(url.unescape(url.escape("a b/" .. i)) == "a b/" .. i)
end

work["socket.http"] = function()
  local http = require("socket.http")
  local body, err = http.request("http://127.0.0.1:1/")       -- nobody listens there
  assert(body == nil and err == "connection refused", err)
  http.TIMEOUT = 5
end

work["argparse"] = function(i)
  local argparse = require("argparse")
  local parser = argparse("prog", "does")
  parser:argument("input")
  parser:option("-n --number", "how many", "1"):convert(tonumber)
  parser:flag("-v --verbose"):count("*")
  local args = parser:parse({ "file", "-n", tostring(i), "-vv" })
  assert(args.input == "file" and args.number == i and args.verbose == 2)
  assert(not parser:pparse({ "--none" }))
end

work["cliargs"] = function(i)
  local cli = require("cliargs.core")()
  cli:set_name("prog")
  cli:argument("INPUT", "what")
  cli:option("-n, --number=N", "how many", "1")
  local args = assert(cli:parse({ "-n", tostring(i), "file" }))
  assert(args.INPUT == "file" and args.number == tostring(i))
end

work["inifile"] = function(i)
  local inifile = require("inifile")
  local t = inifile.parse(("[one]\na=%d\nb=true\n[two]\nc=text\n"):format(i), "memory")
  assert(t.one.a == i and t.one.b == true and t.two.c == "text")
end

work["mediator"] = function(i)
  local m = require("mediator")()
  local sum = 0
  m:subscribe({ "a", "b" }, function(n) sum = sum + n end)
  m:publish({ "a", "b" }, i)
  m:publish({ "a" }, 1000)
  assert(sum == i)
end

work["say"] = function(i)
  local say = require("say")
  say:set_namespace("n" .. i)
  say:set("hello", "hello %s " .. i)
  assert(say("hello", { "you" }) == "hello you " .. i)
end

work["luassert"] = function(i)
  local assert_ = require("luassert")
  assert_.same({ a = { i } }, { a = { i } })
  assert_.has_error(function() error("x" .. i, 0) end, "x" .. i)
  assert(not pcall(assert_.equal, 1, 2))
  local spy = require("luassert.spy").new(function() end)
  spy(i)
  assert_.spy(spy).was_called_with(i)
end

work["lxp.lom"] = function(i)
  local t = require("lxp.lom").parse(("<a x='%d'>text</a>"):format(i))
  assert(t.tag == "a" and t.attr.x == tostring(i) and t[1] == "text")
end

return work
