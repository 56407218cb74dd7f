--- Makes a failing program small: leaves out goroutines, then operations, as long as it fails.

--- `fails(program)` is asked again and again: it runs the program often enough to be believed.
--- `program.bodies` is a list of lists; the rest is kept.
---@return table the smallest that still fails
return function(program, fails)
  local function without(list, i)
    local t = {}
    for k, v in ipairs(list) do
      if k ~= i then t[#t + 1] = v end
    end
    return t
  end
  local function with(bodies)
    local p = {}
    for k, v in pairs(program) do p[k] = v end
    p.bodies = bodies
    return p
  end
  local smaller
  repeat
    smaller = false
    for g = #program.bodies, 1, -1 do
      local p = with(without(program.bodies, g))
      if #p.bodies > 0 and fails(p) then
        program, smaller = p, true
      end
    end
    for g = 1, #program.bodies do
      for i = #program.bodies[g], 1, -1 do
        local bodies = table.move(program.bodies, 1, #program.bodies, 1, {})
        bodies[g] = without(program.bodies[g], i)
        local p = with(bodies)
        if fails(p) then
          program, smaller = p, true
        end
      end
    end
  until not smaller
  return program
end
