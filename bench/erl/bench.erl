%% The Erlang half of the benchmarks: erl -noshell -pa build/bench -run bench main workload [n]
%%
%% Prints "workload value unit"; the same workloads as bench/goro.lua.  Erlang has no channels,
%% so each workload says the same in processes: an unbuffered channel is a message that the
%% sender waits to see acknowledged, a buffered one a window of as many unacknowledged messages,
%% one with several receivers a process that keeps a queue.  A binary of 1 MiB, which processes
%% would share, is copied.  BENCH_SCALE (a factor) shortens those that count operations.
-module(bench).
-export([main/1]).

-define(BATCH, 100).
-define(SLOTS, 128).
-define(LINKS, 503).
-define(MIB, 1048576).

%% --- spawning -------------------------------------------------------------------------------

spawn_finish(0) ->
    ok;
spawn_finish(N) when N >= ?BATCH ->
    Self = self(),
    Ref = make_ref(),
    repeat(?BATCH, fun() -> spawn(fun() -> Self ! Ref end) end),
    repeat(?BATCH, fun() -> receive Ref -> ok end end),
    spawn_finish(N - ?BATCH);
spawn_finish(_) ->
    ok.

parked(N) ->
    spawn_finish(?BATCH),
    Self = self(),
    erlang:garbage_collect(),
    Before = resident(),
    Pids = [spawn(fun() ->
                      Self ! started,
                      receive stop -> Self ! ended end
                  end) || _ <- lists:seq(1, N)],
    repeat(N, fun() -> receive started -> ok end end),
    Bytes = (resident() - Before) / N,
    [Pid ! stop || Pid <- Pids],
    repeat(N, fun() -> receive ended -> ok end end),
    Bytes.

resident() ->
    {ok, Text} = file:read_file("/proc/self/status"),
    {match, [Kb]} = re:run(Text, "VmRSS:\\s*(\\d+)", [{capture, [1], list}]),
    list_to_integer(Kb) * 1024.

sleepers(N) ->
    Self = self(),
    repeat(N, fun() -> spawn(fun() -> receive after 100 -> Self ! woken end end) end),
    repeat(N, fun() -> receive woken -> ok end end).

leaf_sums(Parent, Number, 1) ->
    Parent ! Number;
leaf_sums(Parent, Number, Size) ->
    Self = self(),
    Part = Size div 10,
    [spawn(fun() -> leaf_sums(Self, Number + I * Part, Part) end) || I <- lists:seq(0, 9)],
    Parent ! lists:sum([receive V -> V end || _ <- lists:seq(1, 10)]).

skynet(N) ->
    Self = self(),
    spawn(fun() -> leaf_sums(Self, 0, N) end),
    Sum = N * (N - 1) div 2,
    receive Sum -> ok end.

%% --- switching ------------------------------------------------------------------------------

pingpong(N) ->
    Self = self(),
    Pid = spawn(fun() -> echo(Self) end),
    pingpong(Pid, N).

pingpong(Pid, 0) ->
    Pid ! stop;
pingpong(Pid, N) ->
    Pid ! N,
    receive N -> ok end,
    pingpong(Pid, N - 1).

echo(To) ->
    receive
        stop -> ok;
        V -> To ! V, echo(To)
    end.

ring(N) ->
    Self = self(),
    Last = spawn(fun() -> receive {next, To} -> ring_link(To, Self) end end),
    First = lists:foldl(fun(_, To) -> spawn(fun() -> ring_link(To, Self) end) end,
                        Last, lists:seq(2, ?LINKS)),
    Last ! {next, First},
    First ! N,
    receive done -> ok end.

ring_link(To, Done) ->
    receive
        0 -> Done ! done;
        V -> To ! V - 1, ring_link(To, Done)
    end.

%% Unbuffered: {From, V}, acknowledged with `ack`.
give(To, V) ->
    To ! {self(), V},
    receive ack -> ok end.

sieve(N) ->
    Self = self(),
    spawn(fun() -> numbers(Self, 2) end),
    sieve(Self, N).

numbers(To, I) ->
    give(To, I),
    numbers(To, I + 1).

%% A stage's first number is its prime; it then filters, and hands on what passes to the next
%% stage.  The first stage is this process, which also hears of the end.
sieve(Main, N) ->
    receive
        {From, P} ->
            From ! ack,
            Next = spawn(fun() -> stage(Main, N - 1) end),
            filter_here(Main, P, Next)
    end.

stage(Main, 0) ->
    Main ! finished;
stage(Main, Left) ->
    receive
        {From, P} ->
            From ! ack,
            Next = spawn(fun() -> stage(Main, Left - 1) end),
            filter(P, Next)
    end.

filter(P, Next) ->
    receive
        {From, V} ->
            From ! ack,
            V rem P =/= 0 andalso give(Next, V),
            filter(P, Next)
    end.

filter_here(Main, P, Next) ->
    receive
        finished ->
            ok;
        {From, V} ->
            From ! ack,
            V rem P =/= 0 andalso give(Next, V),
            filter_here(Main, P, Next)
    end.

%% One mailbox is what Erlang selects from.
select4(N) ->
    Self = self(),
    Each = N div 4,
    repeat(4, fun() -> spawn(fun() -> repeat(Each, fun() -> give(Self, 1) end) end) end),
    repeat(Each * 4, fun() -> receive {From, _} -> From ! ack end end).

%% --- passing values -------------------------------------------------------------------------

%% Sends Make(1..N) to this process with at most Slots on the way; Use gets each.
pass(N, Slots, Make, Use) ->
    Self = self(),
    Grant = max(Slots div 2, 1),
    Pid = spawn(fun() -> producer(Self, 0, N, 0, Make) end),
    Pid ! {more, max(Slots, 1)},
    consumer(Pid, N, Grant, Grant, Use).

producer(_, N, N, _, _) ->
    ok;
producer(To, I, N, 0, Make) ->
    receive {more, K} -> producer(To, I, N, K, Make) end;
producer(To, I, N, Credit, Make) ->
    To ! {v, Make(I + 1)},
    producer(To, I + 1, N, Credit - 1, Make).

consumer(_, 0, _, _, _) ->
    ok;
consumer(Pid, N, 0, Grant, Use) ->
    Pid ! {more, Grant},
    consumer(Pid, N, Grant, Grant, Use);
consumer(Pid, N, Left, Grant, Use) ->
    receive {v, V} -> Use(V) end,
    consumer(Pid, N - 1, Left - 1, Grant, Use).

stream(N) ->
    pass(N, ?SLOTS, fun(I) -> I end, fun(_) -> ok end).

%% What is written down in the program is a literal, which Erlang sends without copying it: so
%% strings are made, as they would be read from somewhere, and lists and maps built anew each time.
made(Strings) ->
    [binary:copy(S) || S <- Strings].

record(N) -> record(N, ?SLOTS).
record_hand(N) -> record(N, 0).

record(N, Slots) ->
    [Name, Red, Green, Blue] = made([<<"a name">>, <<"red">>, <<"green">>, <<"blue">>]),
    pass(N, Slots, fun(I) ->
        #{id => I, name => Name, tags => [Red, Green, Blue]}
    end, fun(_) -> ok end).

closure(N) ->
    [Three] = made([<<"three">>]),
    pass(N, ?SLOTS, fun(I) ->
        {A, B, C} = {I, 2.5, Three},
        fun() -> A + B + byte_size(C) end
    end, fun(F) -> F() end).

string1m(N) ->
    S = binary:copy(<<"x">>, ?MIB),
    pass(N, 0, fun(_) -> binary:copy(S) end, fun(_) -> ok end).

table10k(N) ->
    List = lists:seq(1, 5000),
    Dict = maps:from_list([{list_to_binary("key" ++ integer_to_list(I)), I} || I <- List]),
    pass(N, 0, fun(_) -> {List, Dict} end, fun(_) -> ok end).

prodcons(N) ->
    Self = self(),
    Each = N div 4,
    Chan = spawn(fun() -> chan(queue:new(), 0, queue:new(), queue:new()) end),
    repeat(4, fun() ->
        spawn(fun() ->
            repeat(Each, fun() -> Chan ! {put, self(), 1}, receive ack -> ok end end)
        end)
    end),
    repeat(4, fun() ->
        spawn(fun() ->
            repeat(Each, fun() -> Chan ! {get, self()}, receive {v, _} -> ok end end),
            Self ! done
        end)
    end),
    repeat(4, fun() -> receive done -> ok end end).

chan(Values, Len, Getters, Putters) ->
    receive
        {put, From, V} ->
            case queue:out(Getters) of
                {{value, To}, Rest} ->
                    To ! {v, V},
                    From ! ack,
                    chan(Values, Len, Rest, Putters);
                {empty, _} when Len < ?SLOTS ->
                    From ! ack,
                    chan(queue:in(V, Values), Len + 1, Getters, Putters);
                {empty, _} ->
                    chan(Values, Len, Getters, queue:in({From, V}, Putters))
            end;
        {get, To} ->
            case queue:out(Values) of
                {{value, V}, Rest} ->
                    To ! {v, V},
                    case queue:out(Putters) of
                        {{value, {From, W}}, Left} ->
                            From ! ack,
                            chan(queue:in(W, Rest), Len, Getters, Left);
                        {empty, _} ->
                            chan(Rest, Len - 1, Getters, Putters)
                    end;
                {empty, _} ->
                    chan(Values, Len, queue:in(To, Getters), Putters)
            end
    end.

%% --- computing ------------------------------------------------------------------------------

collatz(N) ->
    collatz(1, N, 0).

collatz(I, N, Steps) when I > N ->
    Steps;
collatz(I, N, Steps) ->
    collatz(I + 1, N, collatz_steps(I, Steps)).

collatz_steps(1, Steps) ->
    Steps;
collatz_steps(X, Steps) when X rem 2 =:= 0 ->
    collatz_steps(X div 2, Steps + 1);
collatz_steps(X, Steps) ->
    collatz_steps(3 * X + 1, Steps + 1).

compute(N) ->
    Self = self(),
    repeat(4, fun() -> spawn(fun() -> Self ! {steps, collatz(N)} end) end),
    Steps = receive {steps, S} -> S end,
    repeat(3, fun() -> receive {steps, Steps} -> ok end end).

%% --- the list -------------------------------------------------------------------------------

repeat(0, _) ->
    ok;
repeat(N, F) ->
    F(),
    repeat(N - 1, F).

%% fixed: n is a size, not to be scaled.
list() ->
    [{"spawn", 500000, "ns", fun spawn_finish/1, scaled},
     {"parked", 100000, "bytes", fun parked/1, fixed},
     {"pingpong", 500000, "ns", fun pingpong/1, scaled},
     {"pingpong_main", 500000, "ns", fun pingpong/1, scaled},
     {"stream", 3000000, "ns", fun stream/1, scaled},
     {"prodcons", 400000, "ns", fun prodcons/1, scaled},
     {"ring", 1000000, "ns", fun ring/1, scaled},
     {"sieve", 1000, "ms", fun sieve/1, fixed},
     {"skynet", 100000, "ms", fun skynet/1, fixed},
     {"select4", 500000, "ns", fun select4/1, scaled},
     {"record", 1000000, "ns", fun record/1, scaled},
     {"record_hand", 1000000, "ns", fun record_hand/1, scaled},
     {"sleepers", 100000, "s", fun sleepers/1, fixed},
     {"compute", 120000, "s", fun compute/1, scaled},
     {"closure", 1000000, "ns", fun closure/1, scaled},
     {"string1m", 1000, "MB/s", fun string1m/1, scaled},
     {"table10k", 1000, "us", fun table10k/1, scaled}].

main([]) ->
    [io:format("~-14s ~8b~n", [Name, N]) || {Name, N, _, _, _} <- list()],
    halt(0);
main([Name | Args]) ->
    case lists:keyfind(Name, 1, list()) of
        false ->
            io:format(standard_error, "no workload '~s'~n", [Name]),
            halt(2);
        {_, Default, Unit, F, Kind} ->
            N = count(Args, Default, Kind),
            {Us, Result} = in_process(fun() -> timer:tc(fun() -> F(N) end) end),
            io:format("~s ~.6g ~s~n", [Name, float(value(Unit, Us * 1.0e-6, N, Result)), Unit]),
            halt(0)
    end.

%% In a process of its own; if that fails, so does the program.
in_process(F) ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> Self ! {self(), F()} end),
    receive
        {Pid, Result} -> Result;
        {'DOWN', Monitor, _, _, _} -> halt(1)
    end.

count([N | _], _, _) ->
    list_to_integer(N);
count([], Default, fixed) ->
    Default;
count([], Default, scaled) ->
    Scale = case os:getenv("BENCH_SCALE") of
        false -> 1.0;
        Text -> try list_to_float(Text) catch _:_ -> list_to_integer(Text) end
    end,
    max(trunc(Default * Scale), 1).

value("ns", Seconds, N, _) -> Seconds * 1.0e9 / N;
value("us", Seconds, N, _) -> Seconds * 1.0e6 / N;
value("ms", Seconds, _, _) -> Seconds * 1.0e3;
value("s", Seconds, _, _) -> Seconds;
value("MB/s", Seconds, N, _) -> N * ?MIB / 1.0e6 / Seconds;
value("bytes", _, _, Bytes) -> Bytes.
