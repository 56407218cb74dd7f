---@meta goro
-- Definitions for the Lua language server (LuaLS): add this folder to `workspace.library`.

---A number of seconds (fractions allowed), or a context.  0 or less never blocks; nil waits
---without limit; anything else raises.  A ready value beats a number that has run out; a context
---that is done beats a ready value.
---@alias goro.Timeout number|goro.Context

---Why a call gave up; also `goro.context.Timeout`, `.Canceled`, `.DeadlineExceeded`.
---@alias goro.Reason "timeout"|"context canceled"|"context deadline exceeded"

---What every value sent over a channel must be: a `type()` name, or a finer one.
---@alias goro.ChanType
---|"nil"|"boolean"|"number"|"string"|"table"|"function"|"userdata"
---|"integer"|"float"|"channel"

---Goroutines for Lua 5.4.
---
---Wrong use raises a Lua error, as Go panics.  What a careful caller expects (a time-out, a
---cancelled context) returns `nil, reason` or `false, reason`.  An uncaught error inside a
---goroutine is a panic.
---@class goro
---@field version string `"MAJOR.MINOR.PATCH"`
---@field _VERSION string `"goro MAJOR.MINOR.PATCH"`
local goro = {}

-- Goroutines ---------------------------------------------------------------------------------

---Runs `f(...)` in a new goroutine and returns at once, with nothing.  Go: `go f(...)`.
---
---The goroutine has a Lua state of its own: its own globals and collector.  `f`'s upvalues and
---the arguments are copied, so assigning to them changes nothing outside.  An error that `f`
---does not catch is a panic: reported on stderr and raised in the main script.
---
---Raises if `f` is no function, is a C function with upvalues that no loaded module holds, or
---if a value cannot cross (`cannot send a value of type 'FILE*' (at .log.handle)`).
---@param f function a Lua function, or a C function without upvalues
---@param ... any arguments for `f`, copied
function goro.go(f, ...) end

---Runs `f(...)` in a new goroutine as `go` does, but returns a task to wait for.  An error of
---`f` belongs to whoever waits; if nobody ever asks for it, it is reported on stderr.
---@param f function a Lua function, or a C function without upvalues
---@param ... any arguments for `f`, copied
---@return goro.Task task
---@nodiscard
function goro.async(f, ...) end

---A goroutine whose end can be waited for, by any goroutine, any number of times.
---@class goro.Task
local Task = {}

---Waits for the end.
---@param timeout? goro.Timeout nil waits without limit
---@return boolean? ok true: it ended well; false: with an error; nil: the time-out came first
---@return any ... the results; or the error and its traceback; or the reason
function Task:wait(timeout) end

---Waits for the end and returns the results.  Raises the task's error.
---@param timeout? goro.Timeout nil waits without limit
---@return any ... the results; or nil and the reason if the time-out came first
function Task:result(timeout) end

---A channel that is closed when the task has ended, for `select`.
---@return goro.Channel done
---@nodiscard
function Task:done() end

---Lets other goroutines run.  Go: `runtime.Gosched()`.
function goro.yield() end

---Parks this goroutine, not its thread.  Go: `time.Sleep`.
---@param s number seconds; 0 or less returns at once
---@param ctx? goro.Context ends the sleep when it is done
---@return boolean slept false: the context was done first
---@return goro.Reason? reason
function goro.sleep(s, ctx) end

---This goroutine's number; the main script is 1.
---@return integer id
---@nodiscard
function goro.id() end

---Names this goroutine in stacks, panics, deadlocks and traces.
---@param s? string the new name; nil leaves it
---@return string? name the name
function goro.name(s) end

-- Channels -----------------------------------------------------------------------------------

---Makes a channel.  Go: `make(chan T, cap)`.
---
---Raises if `cap` is negative or no integer, or if the type is unknown.
---@param cap? integer how many values are buffered; 0, the default, is unbuffered
---@param type? goro.ChanType what every value must be; another value raises in `send`
---@param name? string shown by `tostring`, stacks and deadlock reports
---@return goro.Channel ch
---@nodiscard
function goro.chan(cap, type, name) end

---A channel, shared by all goroutines that hold it.  Waiting senders and receivers are served
---first come, first served.  nil may be sent, and so may channels.  `<close>` closes it.
---@class goro.Channel
---@operator len: integer
local Channel = {}

---Sends a copy of `v`; blocks until it is taken or buffered.  Go: `ch <- v`.
---
---Raises `send on closed channel`, also when it closes while waiting; if `v` is not of the
---channel's type; if `v` cannot cross (then nothing is sent); on a receive-only view.
---Further arguments are ignored, so `b:send(a:recv())` does what it says.
---@param v any
---@param ... any ignored
---@return true
function Channel:send(v, ...) end

---Sends with a time-out; never blocks by default.  Go: `select` with a default.  Raises as
---`send` does.
---@param v any
---@param timeout? goro.Timeout default 0
---@return boolean sent false: nothing was sent
---@return goro.Reason? reason
function Channel:try_send(v, timeout) end

---Receives; blocks until there is a value or the channel is closed.  Go: `v, ok := <-ch`.
---
---Returns `v, true`; `nil, false` when closed and drained; `nil, nil, reason` if the time-out
---came first.  Raises on a send-only view.
---@param timeout? goro.Timeout nil waits without limit
---@return any v
---@return boolean? ok
---@return goro.Reason? reason
function Channel:recv(timeout) end

---`recv` that never blocks by default.
---@param timeout? goro.Timeout default 0
---@return any v
---@return boolean? ok
---@return goro.Reason? reason
function Channel:try_recv(timeout) end

---No more sends: buffered values can still be received, waiting receivers get `nil, false`,
---waiting senders raise.  Go: `close(ch)`.  Raises `close of closed channel`.
function Channel:close() end

---For `for v in ch:range() do`: receives until the channel is closed.  Go: `for v := range ch`.
---A received nil raises (it would end the loop silently): use `recv` for such channels.
---@return fun(): any
---@nodiscard
function Channel:range() end

---How many values are buffered; the same as `#ch`.  Go: `len(ch)`.
---@return integer n
---@nodiscard
function Channel:len() end

---How many values can be buffered.  Go: `cap(ch)`.
---@return integer n
---@nodiscard
function Channel:cap() end

---The same channel for sending only: receiving from it raises.  Go: `chan<- T`.  `==` holds
---between a channel and its views.
---@return goro.Channel view
---@nodiscard
function Channel:send_only() end

---The same channel for receiving only: sending to it raises.  Go: `<-chan T`.
---@return goro.Channel view
---@nodiscard
function Channel:recv_only() end

-- select -------------------------------------------------------------------------------------

---Receive from `recv`.  `false` in place of the channel: never ready, like Go's nil channel.
---@class goro.RecvCase
---@field recv goro.Channel|false
---@field [1]? fun(v: any, ok: boolean): ... handler, called after the case is done

---Send `value` to `send`.  `false` in place of the channel: never ready.
---@class goro.SendCase
---@field send goro.Channel|false
---@field value any
---@field [1]? fun(): ... handler, called after the case is done

---@class goro.SelectSpec
---@field [integer] goro.Channel|false|goro.RecvCase|goro.SendCase a bare channel: receive
---@field timeout? goro.Timeout give up after this long
---@field default? true|fun(): ... never block: run this if no case is ready

---Does one of several sends and receives.  Go: `select { ... }`.
---
---One ready case is chosen at random, uniformly; if none is, `default` runs, or the goroutine
---waits.  Without a handler the results are the case's index and, for a receive, `v, ok`; with
---one they are what the handler returns.  `default = true` gives `nil, "default"`; a time-out
---gives `nil, reason`.  `select {}` blocks for ever.
---
---Raises on unknown keys, on a case without a channel, and with `send on closed channel` if
---such a case is chosen.
---@param cases goro.SelectSpec
---@return any index the case's index; nil; or the handler's first result
---@return any v the value received; `"default"` or the reason after nil
---@return any ok for a receive: false if the channel was closed
---@return any ...
function goro.select(cases) end

-- sync ---------------------------------------------------------------------------------------

---What a lock or semaphore returns for `<close>`: `local _ <close> = mu:lock()`.  It releases
---once, at the end of the block.
---@class goro.Guard

---Makes a WaitGroup.  Go: `sync.WaitGroup`.
---@return goro.WaitGroup wg
---@nodiscard
function goro.WaitGroup() end

---Waits for a number of goroutines to end.
---@class goro.WaitGroup
local WaitGroup = {}

---Adds to the counter.  Raises `negative WaitGroup counter`.
---@param n? integer default 1; may be negative
function WaitGroup:add(n) end

---Takes one from the counter; never blocks.  Raises `negative WaitGroup counter`.
function WaitGroup:done() end

---Waits until the counter is 0.  When all are done, raises the first error of a function
---started by `wg:go` in this round, in every waiter; a round ends when the counter leaves 0
---again.
---@param timeout? goro.Timeout nil waits without limit
---@return boolean done false if the time-out came first
---@return goro.Reason? reason
function WaitGroup:wait(timeout) end

---Adds 1, runs `f(...)` in a new goroutine, and takes the 1 back at its end, also when `f`
---fails.  Go: `wg.Go(f)`.  An error of `f` is raised by `wait`.
---@param f function a Lua function, or a C function without upvalues
---@param ... any arguments for `f`, copied
function WaitGroup:go(f, ...) end

---Makes a mutex.  Go: `sync.Mutex`.
---@return goro.Mutex mu
---@nodiscard
function goro.Mutex() end

---A lock that parks the goroutine.  Any goroutine may unlock it.
---@class goro.Mutex
local Mutex = {}

---Locks.  Without a time-out it always returns a guard.
---@param timeout? goro.Timeout nil waits without limit
---@return goro.Guard|false guard unlocks at the end of the block: `local _ <close> = mu:lock()`
---@return goro.Reason? reason
function Mutex:lock(timeout) end

---Locks if that needs no waiting.
---@return goro.Guard|false guard
---@return goro.Reason? reason
function Mutex:try_lock() end

---Unlocks; never blocks.  Raises `unlock of unlocked mutex`.
function Mutex:unlock() end

---Makes a reader/writer lock.  Go: `sync.RWMutex`.
---@return goro.RWMutex mu
---@nodiscard
function goro.RWMutex() end

---A lock for many readers or one writer.  A waiting writer holds back new readers; readers are
---not starved by writers.
---@class goro.RWMutex
local RWMutex = {}

---Locks for writing.
---@param timeout? goro.Timeout nil waits without limit
---@return goro.Guard|false guard
---@return goro.Reason? reason
function RWMutex:lock(timeout) end

---Locks for writing if that needs no waiting.
---@return goro.Guard|false guard
---@return goro.Reason? reason
function RWMutex:try_lock() end

---Ends writing; never blocks.  Raises if the lock is not held for writing.
function RWMutex:unlock() end

---Locks for reading.
---@param timeout? goro.Timeout nil waits without limit
---@return goro.Guard|false guard
---@return goro.Reason? reason
function RWMutex:rlock(timeout) end

---Locks for reading if that needs no waiting.
---@return goro.Guard|false guard
---@return goro.Reason? reason
function RWMutex:try_rlock() end

---Ends reading; never blocks.  Raises if the lock is not held for reading.
function RWMutex:runlock() end

---Makes a Once.  Go: `sync.Once`, with results like `sync.OnceValues`.
---@return goro.Once once
---@nodiscard
function goro.Once() end

---Runs a function once, whoever comes first.
---@class goro.Once
local Once = {}

---The first caller runs `f(...)` in its own state; the others wait until it is done.  Every
---caller gets a copy of its results, or its error raised, now and later.
---@param f function
---@param ... any arguments for `f`
---@return any ... the results of the one run
function Once:run(f, ...) end

---Makes a condition variable.  Go: `sync.NewCond(mutex)`.
---@param mutex goro.Mutex held around `wait`
---@return goro.Cond cond
---@nodiscard
function goro.Cond(mutex) end

---A place to wait for a condition that a mutex protects.
---@class goro.Cond
local Cond = {}

---Unlocks the mutex, waits to be woken, and locks it again, also after a time-out.  Raises if
---the mutex is not locked.
---@param timeout? goro.Timeout nil waits without limit
---@return boolean woken false if the time-out came first
---@return goro.Reason? reason
function Cond:wait(timeout) end

---Wakes the goroutine that waits longest; never blocks.
function Cond:signal() end

---Wakes all that wait; never blocks.
function Cond:broadcast() end

---Makes a semaphore of `n` units.  Go: `semaphore.NewWeighted(n)`.
---@param n integer
---@return goro.Semaphore sem
---@nodiscard
function goro.Semaphore(n) end

---A number of units to hold.  First come, first served: a large request is not overtaken.
---@class goro.Semaphore
local Semaphore = {}

---Takes `k` units; waits until they are free.  Raises if `k` is more than there are in all.
---@param k? integer default 1
---@param timeout? goro.Timeout nil waits without limit
---@return goro.Guard|false guard releases them at the end of the block
---@return goro.Reason? reason
function Semaphore:acquire(k, timeout) end

---Takes `k` units if that needs no waiting.  Raises if `k` is more than there are in all.
---@param k? integer default 1
---@return goro.Guard|false guard
---@return goro.Reason? reason
function Semaphore:try_acquire(k) end

---Gives `k` units back; never blocks.  Raises if that is more than is held.
---@param k? integer default 1
function Semaphore:release(k) end

---Makes a shared integer.  Go: `atomic.Int64`.
---@param v? integer default 0
---@return goro.Atomic a
---@nodiscard
function goro.Atomic(v) end

---An integer shared by all, sequentially consistent.  It wraps around; anything but an integer
---raises.
---@class goro.Atomic
local Atomic = {}

---@return integer v
---@nodiscard
function Atomic:load() end

---@param v integer
function Atomic:store(v) end

---Adds `n`.
---@param n integer
---@return integer new the new value
function Atomic:add(n) end

---Stores `v`.
---@param v integer
---@return integer old the old value
function Atomic:swap(v) end

---Stores `new` if the value is `old`.  Go: `CompareAndSwap`.
---@param old integer
---@param new integer
---@return boolean swapped
function Atomic:cas(old, new) end

---A key of a shared map: a string, a number but NaN, or a boolean; 1 and 1.0 are one key.
---@alias goro.MapKey string|number|boolean

---Makes a shared map.  Go: `sync.Map`.
---@return goro.Map map
---@nodiscard
function goro.Map() end

---A table shared by all.  Values are copied in and out; storing nil deletes.  Another kind of
---key raises, and so does a value that cannot cross.
---@class goro.Map
---@operator len: integer
local Map = {}

---@param k goro.MapKey
---@return any v
---@return boolean found
function Map:load(k) end

---Stores a copy of `v`; nil deletes.
---@param k goro.MapKey
---@param v any
function Map:store(k, v) end

---Returns what is there, or stores `v` and returns that.
---@param k goro.MapKey
---@param v any
---@return any v
---@return boolean loaded true if it was there
function Map:load_or_store(k, v) end

---Stores a copy of `v`.
---@param k goro.MapKey
---@param v any
---@return any old the old value
---@return boolean found
function Map:swap(k, v) end

---Deletes `k`.  Go: `LoadAndDelete`.
---@param k goro.MapKey
---@return any old the old value
---@return boolean found
function Map:delete(k) end

---Stores `new` if the value is `old`, compared as `rawequal` does; nil stands for absent.  Go:
---`CompareAndSwap`.
---@param k goro.MapKey
---@param old any
---@param new any
---@return boolean swapped
function Map:cas(k, old, new) end

---Runs `f(v, ...)` in the caller's goroutine, stores its result and returns it, atomically for
---this key: meanwhile `load` sees the old value and writers of this key wait.
---
---Raises what `f` raises (nothing changes then), if `f` returns no value at all, and for the
---same key inside its own `f`.
---@param k goro.MapKey
---@param f fun(v: any, ...): any
---@param ... any further arguments for `f`
---@return any new what `f` returned
function Map:update(k, f, ...) end

---How many keys there are; the same as `#map`.
---@return integer n
---@nodiscard
function Map:len() end

---For `for k, v in map:range() do`: a snapshot of one moment.  Also `pairs(map)`.
---@return fun(): goro.MapKey?, any
---@nodiscard
function Map:range() end

---The same as `range`.
---@return fun(): goro.MapKey?, any
---@nodiscard
function Map:pairs() end

---Makes a group of goroutines that work on one task.  Go: `errgroup.WithContext(ctx)`.
---@param ctx? goro.Context the parent of `g.ctx`; default the background
---@return goro.Errgroup g
---@nodiscard
function goro.errgroup(ctx) end

---Goroutines that work on one task, and the first failure among them.  `<close>` cancels `ctx`
---and waits for all.
---@class goro.Errgroup
---@field ctx goro.Context cancelled by the first failure (its cause), and when all have ended and `wait` returns
local Errgroup = {}

---Runs `f(...)` in a new goroutine; waits first while as many run as `limit` allows.  `f` fails
---if it raises, or returns nil or false followed by a value that is not nil.
---@param f function as `goro.go` takes it
---@param ... any arguments for `f`, copied
function Errgroup:go(f, ...) end

---At most `n` run at once; any number if `n` is negative.  Raises while some run.
---@param n integer
function Errgroup:limit(n) end

---Waits until all have ended.  What nobody asks for is reported on stderr: second and later
---failures, and the first one of a group that is dropped.
---@param timeout? goro.Timeout nil waits without limit
---@return true? ok nil: one failed, or the time-out came first
---@return any err what it raised or returned; or the reason
---@return string? traceback where it raised, and where it was started; nil if the time-out came first
function Errgroup:wait(timeout) end

---Makes a group of calls of which those for one key share one run.  Also
---`require "goro.singleflight"`.  Go: `singleflight.Group`.
---@return goro.Singleflight g
---@nodiscard
function goro.singleflight() end

---@class goro.Singleflight
local Singleflight = {}

---Runs `f(...)`, unless a call for `key` is in flight: then waits for that one.  (Go's `Do`; that
---is a reserved word here.)
---@param key goro.MapKey
---@param f function runs in the goroutine that came first
---@param ... any arguments for `f`
---@return any ... what `f` returned (copies, for the others), and behind it whether several got
---it; raises what `f` raised, in all
function Singleflight:run(key, f, ...) end

---Forgets the call for `key` that is in flight: who comes next starts another.
---@param key goro.MapKey
function Singleflight:forget(key) end

-- Time ---------------------------------------------------------------------------------------

---The monotonic clock, for differences.  Go: `time.Now()`.
---@return number t seconds
---@nodiscard
function goro.now() end

---A channel that gets one value after `s` seconds: the time, on `goro.now()`'s clock.  It only
---receives.  Go: `time.After`.
---@param s number seconds
---@return goro.Channel c
---@nodiscard
function goro.after(s) end

---A timer whose channel gets one value, the time, after `s` seconds.  Go: `time.NewTimer`.
---@param s number seconds; 0 or less: at once
---@return goro.Timer t
---@nodiscard
function goro.timer(s) end

---A timer whose channel gets the time every `s` seconds.  One tick is buffered: a slow receiver
---misses ticks.  Raises for an interval of 0 or less.  Go: `time.NewTicker`.
---@param s number seconds
---@return goro.Timer t
---@nodiscard
function goro.ticker(s) end

---Runs `f(...)` in a new goroutine after `s` seconds, also if nobody holds the timer.  Go:
---`time.AfterFunc`.
---@param s number seconds; 0 or less: at once
---@param f function as `goro.go` takes it, copied now
---@param ... any arguments for `f`, copied now
---@return goro.Timer t without a channel
function goro.after_func(s, f, ...) end

---A timer, shared by all goroutines that hold it or its channel.  `<close>` stops it.
---@class goro.Timer
---@field c goro.Channel? only receives; nil for an `after_func`
local Timer = {}

---Stops it.  Afterwards no value that it sent before is received any more.
---@return boolean stopped true if it was still to fire: nobody has received its value
function Timer:stop() end

---Stops it and sets it anew; a fired or stopped timer can be set again.
---@param s number seconds; a ticker's new interval
---@return boolean stopped as from `stop`
function Timer:reset(s) end

-- context ------------------------------------------------------------------------------------

---Cancellation, deadlines and values for all that works on one task.  Also
---`require "goro.context"`; loaded at first use.
---@class goro.context
---@field Timeout "timeout"
---@field Canceled "context canceled"
---@field DeadlineExceeded "context deadline exceeded"
local context = {}
goro.context = context

---Ends its context and all below it.  May be called often, from any goroutine, captured, sent
---and started: `goro.go(cancel)`.  The first call counts.  Never blocks.
---@alias goro.Cancel fun(cause?: any)

---The context that is never done; the same one everywhere.  Go: `context.Background`.
---@return goro.Context ctx
---@nodiscard
function context.background() end

---Another that is never done, where it is not clear yet which to use.  Go: `context.TODO`.
---@return goro.Context ctx
---@nodiscard
function context.todo() end

---A context that is done when `cancel` is called or its parent is done.  Go: `WithCancelCause`.
---@param parent? goro.Context default the background
---@return goro.Context ctx
---@return goro.Cancel cancel
---@nodiscard
function context.with_cancel(parent) end

---The same, done after `s` seconds at the latest.  Go: `WithTimeout`.
---@param parent goro.Context? nil: the background
---@param s number seconds; 0 or less: it is done at once
---@return goro.Context ctx
---@return goro.Cancel cancel
---@nodiscard
function context.with_timeout(parent, s) end

---The same, done at `t` at the latest.  Go: `WithDeadline`.
---@param parent goro.Context? nil: the background
---@param t number on `goro.now()`'s clock
---@return goro.Context ctx
---@return goro.Cancel cancel
---@nodiscard
function context.with_deadline(parent, t) end

---A context that holds a value, and is done when its parent is.  Go: `WithValue`.
---@param parent goro.Context? nil: the background
---@param k goro.MapKey
---@param v any copied, now and whenever it is asked for
---@return goro.Context ctx
---@nodiscard
function context.with_value(parent, k, v) end

---A context, shared by all goroutines that hold it.  `<close>` cancels it.
---@class goro.Context
local Context = {}

---A channel that is closed when the context is done, for `select`.  It only receives.
---@return goro.Channel done
---@nodiscard
function Context:done() end

---@return "context canceled"|"context deadline exceeded"|nil err nil: it is not done
---@nodiscard
function Context:err() end

---Why it is done: a copy of what `cancel` was given, its own or that of the context above that
---ended it; else `err()`.  Go: `context.Cause(ctx)`.
---@return any cause nil: it is not done
---@nodiscard
function Context:cause() end

---@param k goro.MapKey
---@return any v a copy of the value that this context or the nearest above it has for `k`
---@nodiscard
function Context:value(k) end

---@return number? t when it will be done at the latest, on `goro.now()`'s clock; nil: no limit
---@nodiscard
function Context:deadline() end

-- Errors -------------------------------------------------------------------------------------

---Warns, once a place, of what copying hides: a goroutine that ends having assigned to a
---captured variable, and a crossing that copies more than 64 KiB.  Environment: `GOROCHECK=1`.
---@param on boolean
function goro.check(on) end

---What an uncaught error in a goroutine started by `go` does, besides being printed with its
---traceback to stderr:
--- - `"raise"` (default): it is raised in the main script, at once if that is blocked in a goro
---   call, else at the start of the next call that may block;
--- - `"report"`: nothing more;
--- - `"exit"`: the process ends with status 2, as in Go.
---@param what "raise"|"report"|"exit"
function goro.on_panic(what) end

-- Signals ------------------------------------------------------------------------------------

---A channel that gets the names of these signals (`"INT"`, `"TERM"` ...) when they come, until it
---is closed.  It keeps 16; what comes when it is full is lost.  While any channel wants a signal
---the signal does nothing else: `"INT"` does not interrupt the main script.  Go: `signal.Notify`,
---and `close` is `signal.Stop`.
---@param name string with or without `SIG`; what means a fault, KILL, STOP and URG raise
---@param ... string
---@return goro.Channel names
---@nodiscard
function goro.signal(name, ...) end

-- Processes ----------------------------------------------------------------------------------

---@class goro.Process
---@field pid integer
---@field stdin? goro.Connection where `stdin = "pipe"` was said; and so on
---@field stdout? goro.Connection
---@field stderr? goro.Connection
local Process = {}

---Waits for its end; any goroutine may, any number of times.
---@param timeout? number|goro.Context
---@return "exit"|"signal"|nil how nil, and a reason, if the time-out came first
---@return integer|string number exit status, or the signal's number
function Process:wait(timeout) end

---Sends a signal.
---@param signal? string|integer `"TERM"`, 15 ...; KILL unless given
---@return true? sent nil, reason if it has ended
---@return string? reason
function Process:kill(signal) end

---@class goro.CommandOptions
---@field [integer] string the program, looked for in PATH, and its arguments
---@field stdin? "pipe"|"inherit"|"null"|string|integer|file*|goro.Connection a string: a path; nil: null
---@field stdout? "pipe"|"inherit"|"null"|string|integer|file*|goro.Connection
---@field stderr? "pipe"|"inherit"|"null"|"stdout"|string|integer|file*|goro.Connection
---@field dir? string
---@field env? table a list of "NAME=value": all of it; names: changes to ours (false removes one)
---@field ctx? goro.Context kills it when it is done

---Starts a program.  Go: `exec.Command(...).Start()`.
---@param options goro.CommandOptions
---@return goro.Process? process nil, message, code also where it cannot be executed
---@return string? message
---@return integer? code
function goro.command(options) end

-- Runtime ------------------------------------------------------------------------------------

---How many goroutines run at once; the default is the CPUs this process may use (cgroup limits
---counted), environment `GOROMAXPROCS`.  Go: `runtime.GOMAXPROCS`.
---@param n? integer the new number; nil leaves it
---@return integer previous
function goro.maxprocs(n) end

---The bound on worker threads, 10,000 at first.  Threads that there are stay.  Where another is
---needed (a goroutine is stuck in C, or blocks where Lua cannot yield) and none may be made, the
---rest waits until one is free; when all are blocked for good the main script's blocked call
---raises.  Go: `debug.SetMaxThreads`, which ends the process.
---@param n? integer 1 to 10000; nil leaves it
---@return integer previous
function goro.max_threads(n) end

---The CPUs this process may use.  Go: `runtime.NumCPU`.
---@return integer n
---@nodiscard
function goro.num_cpu() end

---How many goroutines there are.  Go: `runtime.NumGoroutine`.
---@return integer n
---@nodiscard
function goro.num_goroutine() end

---Figures of this process.  The first seven count from its start.
---@class goro.Stats
---@field spawned integer goroutines started
---@field switches integer how often a goroutine began to run, or went on
---@field steals integer times a processor took work from another one's queue
---@field handoffs integer times a processor was given to another thread, its own being inside C
---@field preemptions integer times a goroutine that ran for long was made to yield
---@field messages integer values received from channels
---@field bytes_marshalled integer bytes of strings, tables and functions that crossed
---@field live integer goroutines, main scripts counted
---@field runnable integer goroutines that wait for a processor
---@field maxprocs integer as `goro.maxprocs()`
---@field idle_procs integer of these, how many have nothing to do
---@field workers integer threads of goro's
---@field parked_workers integer of these, how many sleep
---@field spinning_workers integer how many look for work
---@field compiled integer source files compiled for require, loadfile and dofile
---@field compile_hits integer loads that needed no compiler
---@field searches integer times that a module's file was looked for on a path
---@field search_hits integer those whose answer was remembered and still held
---@field code_bytes integer instructions and line numbers that goroutines share
---@field code_loads integer times that a function's, or a file's, were there already
---@field images integer images of functions and of modules that are in use
---@field image_bytes integer what they take
---@field module_images goro.ModuleImage[] sets of modules that goroutines asked for

---The scheduler's figures: its counters, and how things are now.
---@return goro.Stats stats
---@nodiscard
function goro.stats() end

---This goroutine stays on its OS thread, and no other runs there, until it has called
---`unlock_thread` as often, or ends: for C libraries with per-thread state.  The main script always
---stays on its own.  Go: `runtime.LockOSThread`.
function goro.lock_thread() end

---Takes one `lock_thread` back; does nothing if there is none.  Go: `runtime.UnlockOSThread`.
function goro.unlock_thread() end

---A set of modules that goroutines start with, or will.
---@class goro.ModuleImage
---@field modules string their names: "a, b"
---@field state "counting"|"making"|"ready"|"refused"
---@field reason? string why it was refused
---@field bytes integer what it takes
---@field goroutines integer how many were started from it

---Keeps modules out of images: their bodies run anew in every goroutine of this process that
---requires them, from now on (see docs/images.md).  Raises if an argument is no string.
---@param name string|true a module's name; true: all modules
---@param ... string further names
function goro.fresh(name, ...) end

---A goroutine that can never run again.
---@class goro.Leak
---@field id integer its number
---@field name? string as set by `goro.name`
---@field waiting string what it waits for: `chan receive "jobs"`
---@field traceback string where, and where it was created

---The goroutines of this script that can never run again, though others can: what they wait on
---is held by nobody who could wake them.  Never one that could be woken; one whose channel is
---held by a goroutine inside C, or by a main script that has not yet collected it, may be missed.
---Runs a full collection of the caller's state; all others stand still meanwhile.
---@return goro.Leak[] leaks
---@nodiscard
function goro.leaks() end

---Where CPU time goes, in all goroutines and main scripts; also `require "goro.profile"`.
---@class goro.profile
local profile = {}
goro.profile = profile

---Starts sampling the Lua stack of whatever runs.  nil, `"already profiling"`: somebody does.
---Go: `pprof.StartCPUProfile`.
---@param hz? integer samples for each second of CPU time, 1 to 1000; 100 unless given
---@return true? ok
---@return string? reason
function profile.start(hz) end

---Writes what was sampled, and stops.  If it cannot be written nothing is lost: sampling goes on,
---and it may be called again.  nil, `"not profiling"`: nobody has started.
---@param path string a flame graph if it ends in `.svg`, else folded stacks: `a;b;c count` a line
---@return true? ok
---@return string? reason
function profile.stop(path) end

---An execution trace of the process; also `require "goro.trace"`.  Go: `runtime/trace`.
---@class goro.trace
local trace = {}
goro.trace = trace

---Records from now on what the scheduler does, to be written to `path` for Perfetto and
---chrome://tracing at `stop`, or at the end of the last script or the process.  Nil: the file cannot be
---written, or a trace is being recorded.  All others stand still for a moment.
---@param path string
---@return true? ok
---@return string? reason
function trace.start(path) end

---Ends the trace and writes its file.  Nil: there is none, or the file could not be written.
---@return true? ok
---@return string? reason
function trace.stop() end

---Looking at a program from outside; also `require "goro.debug"`.
---@class goro.debug
local debug = {}
goro.debug = debug

---From now on prints all stacks on stderr when the process gets this signal, also while the main
---script computes or is inside C.  `GOROTRACEBACK=1` does it for SIGQUIT.
---@param signal string `"QUIT"`, `"SIGUSR1"` ...; raises for one that is unknown or cannot be caught
---@return true? ok
---@return string? reason
---@return integer? code
function debug.dump_on(signal) end

---Lets `goro-top` look at this process through a Unix socket, which is removed at the end.
---@param path? string nil: no more
---@return true? ok
---@return string? reason
---@return integer? code
function debug.serve(path) end

---If it is not called again in that time, the main script raises `text` with all stacks, as it
---raises a panic.  No timer is set for it: a deadlock stays one.
---@param seconds? number nil: no limit any more
---@param text? string
---@return true? ok
---@return string? reason
---@return integer? code
function debug.limit(seconds, text) end

---What goro-top asks the process that serves at `path`.  Blocks the thread.
---@param path string
---@param what "top"|"leaks"|"stacks"
---@return string? text lines of fields between tabs
---@return string? reason
---@return integer? code
function debug.fetch(path, what) end

---For specs: `require "goro.busted"` makes each `it` fail on a panic, a leak or a deadlock of its
---goroutines, and after a time limit, with stacks; luassert's `assert` is the global one of
---goroutines, too.
---@class goro.busted
local busted = {}

---@class goro.BustedOptions
---@field timeout? number|false seconds for each test; 10
---@field grace? number seconds that goroutines get to end; 1
---@field strict? boolean those that still run then are failures, too; false
---@field panics? boolean panics that nobody was told of are failures; true
---@field leaks? boolean look for leaks; true
---@field asserts? boolean luassert in goroutines; true

---Sets how tests are run from now on.
---@param options? goro.BustedOptions
---@return goro.busted
function busted.setup(options) end

---Sets options of the test that runs, for it alone: one that needs more time, or means to panic or
---to leak, says so in its first line.  With `timeout` its time starts anew.  Raises where no test
---runs.
---@param options goro.BustedOptions
function busted.test(options) end

---Runs `f(...)` as a test is run; raises what is wrong.
---@param f function
---@param name? string for messages
---@param options? goro.BustedOptions for this one
---@param ... any
function busted.run(f, name, options, ...) end

---Every goroutine of this script: number, name, what it does or waits for and for how long (from
---0.1 s on), traceback, and where it was created.  All stand still meanwhile, but for those
---inside C, whose tracebacks cannot be told.  Go: `runtime.Stack(buf, true)`.
---@return string text
---@nodiscard
function goro.stacks() end

---The bound on the memory of each goroutine's state; environment `GOROMEMLIMIT`.
---@param bytes? integer the new bound, 0 for none; nil leaves it
---@return integer previous
function goro.memory_limit(bytes) end

---Runs `f()` in the state of every goroutine started after, before its function: for a
---debugger, a strict mode, settings of modules.  Several add up.
---@param f function
function goro.init(f) end

-- Input and output --------------------------------------------------------------------------

---Waits until a descriptor is ready, whoever opened it.  Any number of goroutines may wait for
---one.  The other side's end and errors count as ready; so does every file that cannot be waited
---for, such as a regular one.
---
---A descriptor that is closed while it is waited for tells nobody; if its number is used anew,
---the new file is waited for.
---@param fd integer a file descriptor
---@param mode "r"|"w"|"rw" what to wait for; with "rw" either will do
---@param timeout? goro.Timeout nil waits without limit
---@return "r"|"w"|"rw"|nil ready what it is ready for; nil: the time-out came first, or an error
---@return string? reason
---@return integer? code errno, for an error
function goro.poll(fd, mode, timeout) end

---`goro.net`, also `require "goro.net"`.  Addresses are `"host:port"`, `":8080"` (all of this
---machine's), `"[::1]:0"` (port 0: a free one), `"unix:/path"`, `"unix:@name"` (abstract).
---
---What fails returns `nil, reason`, with the errno as a third result where the system said so:
---`"eof"` at the end, `"closed"` after `close`, `"timeout"`, a context's reason, or its text.
---@class goro.net
goro.net = {}

---Connects.  A name is looked up without holding up anybody; its IPv6 and IPv4 addresses are
---tried in turns, the next one after 250 ms or as soon as one has failed.  Go: `net.Dial`.
---@param addr string
---@param timeout? goro.Timeout nil waits without limit
---@return goro.Connection? connection
---@return string? reason
---@return integer? code
function goro.net.dial(addr, timeout) end

---Go: `net.Listen`.
---@param addr string
---@return goro.Listener? listener
---@return string? reason
---@return integer? code
function goro.net.listen(addr) end

---Go: `net.ListenPacket`.
---@param addr? string nil: any address, a free port
---@return goro.UDP? socket
---@return string? reason
---@return integer? code
function goro.net.udp(addr) end

---A stream: a socket, a pipe, a terminal, a file.  Shared by all goroutines that hold it: one may
---read while another writes; several readers, or writers, take turns.  `<close>` closes it, and so
---does its collection.  A time-out of a call's own stands in place of the deadline.
---@class goro.Connection
local Connection = {}

---Waits for some bytes.
---@param max? integer at most so many, at least 1; nil: what there is
---@param timeout? goro.Timeout
---@return string? bytes at least one
---@return string? reason `"eof"` ...
---@return integer? code
function Connection:read(max, timeout) end

---Waits for `n` bytes.  If it gives up, or the end comes first, what there is stays for the next
---read.  Go: `io.ReadFull`.
---@param n integer
---@param timeout? goro.Timeout
---@return string? bytes
---@return string? reason
---@return integer? code
function Connection:read_full(n, timeout) end

---Waits for a line, returned without its `"\n"` or `"\r\n"`.  The last line needs no end.  One
---that is longer than the limit is `nil, "line too long"`, and stays to be read otherwise.
---@param timeout? goro.Timeout
---@return string? line
---@return string? reason
---@return integer? code
function Connection:read_line(timeout) end

---Waits for the end and returns all that came, `""` if nothing did.  Go: `io.ReadAll`.
---@param timeout? goro.Timeout
---@return string? bytes
---@return string? reason
---@return integer? code
function Connection:read_all(timeout) end

---Writes all of it, as one: other writers come before or after.
---@param s string|number|(string|number)[]
---@param timeout? goro.Timeout
---@return integer? n bytes written, all
---@return string? reason
---@return integer? code
---@return integer? written if it failed: the bytes that went
function Connection:write(s, timeout) end

---The other side reads the end.  Go: `CloseWrite`.
---@return boolean? ok
---@return string? reason
---@return integer? code
function Connection:close_write() end

---Closes it; who waits in it gets `nil, "closed"`.
---@return boolean? ok true; nil, "closed" if it was
---@return string? reason
function Connection:close() end

---When calls without a time-out of their own give up, from now on, also those that wait already.
---Go: `SetDeadline`.
---@param timeout? goro.Timeout seconds from now, or a context; nil: never
function Connection:deadline(timeout) end

---@return string? address this side's
---@return string? reason
---@return integer? code
function Connection:addr() end

---@return string? address the other side's
---@return string? reason
---@return integer? code
function Connection:peer() end

---TCP: send small writes at once (the default).  Go: `SetNoDelay`.
---@param on boolean
---@return boolean? ok
---@return string? reason
---@return integer? code
function Connection:no_delay(on) end

---After so many seconds of silence ask if the other side is there.  Go: `SetKeepAlivePeriod`.
---@param s number 0: don't
---@return boolean? ok
---@return string? reason
---@return integer? code
function Connection:keep_alive(s) end

---The longest line `read_line` takes; 65536 unless set.
---@param n? integer nil leaves it
---@return integer previous
function Connection:limit(n) end

---The descriptor's number.  It stays the connection's.
---@return integer? fd
---@return string? reason
function Connection:fd() end

---`addr`, `close`, `deadline` and `fd` are as a connection's.
---@class goro.Listener
---@field addr fun(self): string?, string?, integer?
---@field close fun(self): boolean?, string?
---@field deadline fun(self, timeout?: goro.Timeout)
---@field fd fun(self): integer?, string?
local Listener = {}

---Waits for a connection.  Any number of goroutines may.
---@param timeout? goro.Timeout
---@return goro.Connection? connection
---@return string? reason
---@return integer? code
function Listener:accept(timeout) end

---`addr`, `close`, `deadline` and `fd` are as a connection's.
---@class goro.UDP
---@field addr fun(self): string?, string?, integer?
---@field close fun(self): boolean?, string?
---@field deadline fun(self, timeout?: goro.Timeout)
---@field fd fun(self): integer?, string?
local UDP = {}

---Sends one datagram.  A name in `addr` is looked up in this thread; others run on.
---@param data string
---@param addr string
---@param timeout? goro.Timeout
---@return integer? bytes
---@return string? reason
---@return integer? code
function UDP:send(data, addr, timeout) end

---Waits for a datagram.
---@param timeout? goro.Timeout
---@return string? data
---@return string? address where it came from; or the reason
---@return integer? code
function UDP:recv(timeout) end

---Opens a pipe, a terminal, a file.  A named pipe waits for its other side, as ever: that blocks a
---thread, not the other goroutines.
---@param path string
---@param mode? string as io.open's; nil: "r"
---@return goro.Connection? connection
---@return string? reason
---@return integer? code
function goro.open(path, mode) end

---Standard input, output and error.  `io`'s buffers are others: what `io.read` has read ahead is
---not seen here.
---@type goro.Connection
goro.stdin = nil
---@type goro.Connection
goro.stdout = nil
---@type goro.Connection
goro.stderr = nil

-- LuaSocket's face, and TLS -------------------------------------------------------------------

---`require "goro.socket"`: LuaSocket's `socket` over goro.net.  What blocks there parks here.
---docs/sockets.md says what differs.
---@class goro.socket
---@field _VERSION string
---@field sinkt table sinks for ltn12, by name: LuaSocket's `socket.sinkt`
---@field sourcet table sources, likewise
---@field dns goro.socket.dns
local socket = {}

---From now on `require "socket"` and `require "socket.unix"` give this one, in this state and in
---goroutines started after.
---@return goro.socket
function socket.install() end

---@return goro.socket.TCP master either family; `tcp4` and `tcp6`: one of them
function socket.tcp() end
socket.tcp4, socket.tcp6 = socket.tcp, socket.tcp

---@return goro.socket.UDP unconnected `udp4` and `udp6`: of one family
function socket.udp() end
socket.udp4, socket.udp6 = socket.udp, socket.udp

---A stream over a Unix socket: `connect(path)`, `bind(path)`, else as `tcp()`.
---@return goro.socket.TCP master
function socket.unix() end

---A connected socket; `connect4` and `connect6`: by one family.
---@param host string
---@param port integer|string
---@return goro.socket.TCP? client
---@return string? reason
function socket.connect(host, port) end
socket.connect4, socket.connect6 = socket.connect, socket.connect

---A listening one.
---@param host string `"*"`: all of this machine's addresses
---@param port integer|string 0: a free one
---@param backlog? integer not looked at
---@return goro.socket.TCP? server
---@return string? reason
function socket.bind(host, port, backlog) end

---Waits until one can be read from (accepted from) or written to.
---@param recvt table? sockets, or whatever has `getfd` and perhaps `dirty`
---@param sendt table?
---@param timeout? number seconds; nil waits without limit
---@return table readable a list, and each socket as a key with its place in it
---@return table writable
---@return string? reason `"timeout"`
function socket.select(recvt, sendt, timeout) end

---@return number seconds since 1970
function socket.gettime() end

---@param seconds number this goroutine sleeps
function socket.sleep(seconds) end

---Its arguments, or raises the second one for `protect` if the first is nil or false.
---@param ... any
---@return any ...
function socket.try(...) end

---As `try`, with a function that is called before it raises.
---@param finalizer? function
---@return function try
function socket.newtry(finalizer) end

---`f`, but what a `try` in it raises is returned: nil, message.
---@param f function
---@return function
function socket.protect(f) end

---@param n integer
---@param ... any
---@return any ... without the first n
function socket.skip(n, ...) end

---@param mode "close-when-done"|"keep-open"
---@param client goro.socket.TCP
---@return function sink for ltn12
function socket.sink(mode, client) end

---@param mode "until-closed"|"by-length"
---@param client goro.socket.TCP
---@param length? integer
---@return function source for ltn12
function socket.source(mode, client, length) end

---Look-ups; others run on meanwhile.
---@class goro.socket.dns
local dns = {}

---@param host string
---@return { family: "inet"|"inet6", addr: string }[]? addresses
---@return string? reason
function dns.getaddrinfo(host) end

---@param host string
---@return string? address the first IPv4 one
---@return table|string all or the reason
function dns.toip(host) end

---@return string name
function dns.gethostname() end

---LuaSocket's TCP object: master, client or server.  One goroutine at a time uses it.
---@class goro.socket.TCP
local TCP = {}

---@param value? number seconds for each call; nil or below 0: without limit
---@param mode? "b"|"t" "t": for each call as a whole
---@return 1
function TCP:settimeout(value, mode) end

---@return number block
---@return number total
function TCP:gettimeout() end

---@param host string
---@param port integer|string
---@return 1? connected
---@return string? reason
function TCP:connect(host, port) end

---Listens, too.
---@param host string
---@param port integer|string
---@return 1? bound
---@return string? reason
function TCP:bind(host, port) end

---@param backlog? integer
---@return 1? listening
---@return string? reason
function TCP:listen(backlog) end

---@return goro.socket.TCP? client
---@return string? reason
function TCP:accept() end

---@param pattern? "*l"|"*a"|"l"|"a"|integer a line (nil, too), all until the end, so many bytes
---@param prefix? string stands before what is returned
---@return string? data
---@return string? reason `"timeout"`, `"closed"`
---@return string? partial what had come
function TCP:receive(pattern, prefix) end

---@param data string
---@param i? integer
---@param j? integer
---@return integer? last index of the last byte sent
---@return string? reason
---@return integer? sent the same where it gave up
function TCP:send(data, i, j) end

---@param mode? "send"|"receive"|"both"
---@return 1?
---@return string? reason
function TCP:shutdown(mode) end

---@return 1
function TCP:close() end

---@return string? address
---@return string|integer port or the reason
---@return string? family
function TCP:getsockname() end
TCP.getpeername = TCP.getsockname

---`"tcp-nodelay"` and `"keepalive"` are set; other options of LuaSocket's do nothing.
---@param option string
---@param value any
---@return 1?
---@return string? reason
function TCP:setoption(option, value) end

---@param option string
---@return any value
function TCP:getoption(option) end

---@return integer received
---@return integer sent
---@return number age seconds
function TCP:getstats() end

---@param received? integer
---@param sent? integer
---@param age? number
---@return 1
function TCP:setstats(received, sent, age) end

---@return integer fd -1: none
function TCP:getfd() end

---@return boolean dirty something was read and not asked for yet
function TCP:dirty() end

---@return "inet"|"inet6"|"unix"
function TCP:getfamily() end

---LuaSocket's UDP object.
---@class goro.socket.UDP
---@field settimeout fun(self, value?: number, mode?: "b"|"t"): 1
---@field gettimeout fun(self): number, number
---@field setoption fun(self, option: string, value: any): 1?, string?
---@field getoption fun(self, option: string): any
---@field getsockname fun(self): string?, string|integer, string?
---@field getpeername fun(self): string?, string|integer, string?
---@field getfd fun(self): integer
---@field getfamily fun(self): "inet"|"inet6"
---@field dirty fun(self): boolean
---@field close fun(self): 1
local UDPSocket = {}

---@param host string
---@param port integer|string
---@return 1?
---@return string? reason
function UDPSocket:setsockname(host, port) end

---@param host string `"*"`: the peer is forgotten
---@param port? integer|string
---@return 1?
---@return string? reason
function UDPSocket:setpeername(host, port) end

---@param data string
---@return 1? sent to the peer that was set
---@return string? reason
function UDPSocket:send(data) end

---@param data string
---@param host string
---@param port integer|string
---@return 1? sent
---@return string? reason
function UDPSocket:sendto(data, host, port) end

---@param size? integer the rest of a longer datagram is lost
---@return string? data
---@return string? reason
function UDPSocket:receive(size) end

---@param size? integer
---@return string? data
---@return string? address where it came from; or the reason
---@return integer? port
function UDPSocket:receivefrom(size) end

---`require "goro.tls"`: LuaSec's objects, which park where LuaSec says wantread or wantwrite.
---@class goro.tls
local tls = {}

---Takes over a connection of goro.net or a connected socket of goro.socket.
---@param conn goro.Connection|goro.socket.TCP
---@param params table|userdata LuaSec's parameters (mode, protocol, verify ...), or a context
---@return goro.tls.Connection? connection `dohandshake` is still to be called
---@return string? message
function tls.wrap(conn, params) end

---What LuaSec's own object offers.  It stays in its goroutine.
---@class goro.tls.Connection
---@field settimeout fun(self, value?: number, mode?: "b"|"t"): 1
---@field close fun(self): 1
---@field getfd fun(self): integer
---@field dirty fun(self): boolean
---@field info fun(self, field?: string): any
---@field getpeercertificate fun(self, n?: integer): userdata
---@field getpeerverification fun(self): boolean, table?
---@field sni fun(self, ...: any): any
local TLS = {}

---@return true? done
---@return string? reason
function TLS:dohandshake() end

---@param pattern? "*l"|"*a"|integer
---@param prefix? string
---@return string? data
---@return string? reason
---@return string? partial
function TLS:receive(pattern, prefix) end

---@param data string
---@param i? integer
---@param j? integer
---@return integer? last index of the last byte sent
---@return string? reason
---@return integer? sent
function TLS:send(data, i, j) end

return goro
