-- The lists in `build` are written by tools/rockspec.sh.
rockspec_format = "3.0"
package = "goro"
version = "scm-1"

source = {
  url = "git+https://github.com/goro-lua/goro.git",
}

description = {
  summary = "Goroutines, channels and select for Lua 5.4, on all processors",
  detailed = [[
goro brings Go's concurrency to stock Lua 5.4: goroutines that run in parallel on all
processors, channels, select, WaitGroups, mutexes, timers and contexts.  A goroutine may
block anywhere a Lua function may run, and one that computes for long is preempted.
]],
  homepage = "https://github.com/goro-lua/goro",
  issues_url = "https://github.com/goro-lua/goro/issues",
  license = "MIT",
  labels = { "concurrency", "parallel", "threads", "async", "goroutines", "channels" },
}

supported_platforms = { "linux" }

dependencies = {
  "lua >= 5.4, < 5.5",
}

test_dependencies = {
  "busted >= 2.1",
}

test = {
  type = "busted",
}

build = {
  type = "builtin",
  modules = {
    ["goro.core"] = {
      sources = {
        "src/alarm.c",
        "src/arena.c",
        "src/argerr.c",
        "src/big.c",
        "src/chan.c",
        "src/chaos.c",
        "src/check.c",
        "src/chunks.c",
        "src/class.c",
        "src/classes.c",
        "src/code.c",
        "src/conn.c",
        "src/context.c",
        "src/costate.c",
        "src/debug.c",
        "src/encode.c",
        "src/encode_class.c",
        "src/encode_make.c",
        "src/encode_path.c",
        "src/errgroup.c",
        "src/fault.c",
        "src/fdwait.c",
        "src/fit.c",
        "src/handle.c",
        "src/host.c",
        "src/hostlook.c",
        "src/image.c",
        "src/lazy.c",
        "src/leaks.c",
        "src/lock.c",
        "src/lookup.c",
        "src/lua_args.c",
        "src/lua_chan.c",
        "src/lua_cond.c",
        "src/lua_conn.c",
        "src/lua_context.c",
        "src/lua_debug.c",
        "src/lua_errgroup.c",
        "src/lua_fault.c",
        "src/lua_go.c",
        "src/lua_goro.c",
        "src/lua_guard.c",
        "src/lua_hook.c",
        "src/lua_load.c",
        "src/lua_map.c",
        "src/lua_mutex.c",
        "src/lua_net.c",
        "src/lua_open.c",
        "src/lua_poll.c",
        "src/lua_process.c",
        "src/lua_profile.c",
        "src/lua_runtime.c",
        "src/lua_select.c",
        "src/lua_semaphore.c",
        "src/lua_sight.c",
        "src/lua_signal.c",
        "src/lua_sync.c",
        "src/lua_task.c",
        "src/lua_time.c",
        "src/lua_timer.c",
        "src/lua_trace.c",
        "src/m.c",
        "src/marshal.c",
        "src/modimage.c",
        "src/modref.c",
        "src/msg.c",
        "src/mutex.c",
        "src/netpoll.c",
        "src/netpoll_epoll.c",
        "src/ossignal.c",
        "src/park.c",
        "src/plain.c",
        "src/platform.c",
        "src/proc.c",
        "src/process.c",
        "src/profile.c",
        "src/report.c",
        "src/result.c",
        "src/run.c",
        "src/runq.c",
        "src/rwmutex.c",
        "src/select.c",
        "src/service.c",
        "src/sigchan.c",
        "src/slab.c",
        "src/smap.c",
        "src/sock.c",
        "src/start.c",
        "src/state.c",
        "src/stats.c",
        "src/stdlibs.c",
        "src/sync.c",
        "src/sysmon.c",
        "src/task.c",
        "src/timers.c",
        "src/trace.c",
        "src/tracefile.c",
        "src/tracename.c",
        "src/unmarshal.c",
        "src/unmarshal_class.c",
        "src/verify.c",
        "src/waitgroup.c",
        "src/world.c",
      },
      libraries = { "pthread" },
    },
    ["goro.busted"] = "lua/goro/busted.lua",
    ["goro.command"] = "lua/goro/command.lua",
    ["goro.context"] = "lua/goro/context.lua",
    ["goro.debug"] = "lua/goro/debug.lua",
    ["goro"] = "lua/goro/init.lua",
    ["goro.net"] = "lua/goro/net.lua",
    ["goro.profile"] = "lua/goro/profile.lua",
    ["goro.singleflight"] = "lua/goro/singleflight.lua",
    ["goro.socket"] = "lua/goro/socket.lua",
    ["goro.socket.base"] = "lua/goro/socket/base.lua",
    ["goro.tls"] = "lua/goro/tls.lua",
    ["goro.trace"] = "lua/goro/trace.lua",
  },
  install = {
    bin = { ["goro-top"] = "bin/goro-top" },
  },
}
