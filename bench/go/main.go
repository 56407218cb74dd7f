// The Go half of the benchmarks: bench workload [n]
//
// Prints "workload value unit"; the same workloads as bench/goro.lua.  What goro copies because
// its goroutines share no tables (records, long strings, tables) is copied here too, since a
// Go program that wants the same safety must.  BENCH_SCALE (a factor) shortens the workloads
// that count operations.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"
)

const (
	batch = 100
	slots = 128
	links = 503
	mib   = 1 << 20
)

func resident() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		var kb float64
		if _, err := fmt.Sscanf(string(line), "VmRSS: %f", &kb); err == nil {
			return kb * 1024
		}
	}
	panic("no VmRSS")
}

// --- spawning ---------------------------------------------------------------------------------

func spawn(n int) {
	ch := make(chan int)
	var wg sync.WaitGroup
	for i := 0; i < n/batch; i++ {
		wg.Add(batch)
		for j := 0; j < batch; j++ {
			go func() {
				if len(ch) == 0 {
					wg.Done()
				}
			}()
		}
		wg.Wait()
	}
}

func parked(n int) float64 {
	spawn(batch)
	gate := make(chan int)
	var started, ended sync.WaitGroup
	started.Add(n)
	ended.Add(n)
	runtime.GC()
	before := resident()
	go func() {
		for i := 0; i < n; i++ {
			go func() {
				started.Done()
				<-gate
				ended.Done()
			}()
		}
	}()
	started.Wait()
	bytes := (resident() - before) / float64(n)
	close(gate)
	ended.Wait()
	return bytes
}

func sleepers(n int) {
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			time.Sleep(100 * time.Millisecond)
			wg.Done()
		}()
	}
	wg.Wait()
}

func leafSums(parent chan<- int, number, size int) {
	if size == 1 {
		parent <- number
		return
	}
	ch := make(chan int)
	part, sum := size/10, 0
	for i := 0; i < 10; i++ {
		go leafSums(ch, number+i*part, part)
	}
	for i := 0; i < 10; i++ {
		sum += <-ch
	}
	parent <- sum
}

func skynet(n int) {
	ch := make(chan int)
	go leafSums(ch, 0, n)
	if <-ch != n*(n-1)/2 {
		panic("wrong sum")
	}
}

// --- switching --------------------------------------------------------------------------------

func pingpong(n int) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	for i := 0; i < n; i++ {
		ping <- i
		<-pong
	}
	close(ping)
}

func ring(n int) {
	first, done := make(chan int), make(chan bool)
	from := first
	for i := 1; i <= links; i++ {
		to := first
		if i < links {
			to = make(chan int)
		}
		go func(from <-chan int, to chan<- int) {
			for v := range from {
				if v == 0 {
					done <- true
				} else {
					to <- v - 1
				}
			}
		}(from, to)
		from = to
	}
	first <- n
	<-done
}

func sieve(n int) {
	numbers := make(chan int)
	go func(to chan<- int) {
		for i := 2; ; i++ {
			to <- i
		}
	}(numbers)
	prime := 0
	for i := 0; i < n; i++ {
		prime = <-numbers
		to := make(chan int)
		go func(from <-chan int, to chan<- int, p int) {
			for {
				if v := <-from; v%p != 0 {
					to <- v
				}
			}
		}(numbers, to, prime)
		numbers = to
	}
	if n == 1000 && prime != 7919 {
		panic("wrong prime")
	}
}

func select4(n int) {
	var chans [4]chan int
	for i := range chans {
		ch := make(chan int)
		chans[i] = ch
		go func() {
			for i := 0; i < n/4; i++ {
				ch <- i
			}
		}()
	}
	a, b, c, d := chans[0], chans[1], chans[2], chans[3]
	for i := 0; i < n/4*4; i++ {
		select {
		case <-a:
		case <-b:
		case <-c:
		case <-d:
		}
	}
}

// --- passing values ---------------------------------------------------------------------------

func prodcons(n int) {
	ch := make(chan int, slots)
	var producers, consumers sync.WaitGroup
	for i := 0; i < 4; i++ {
		producers.Add(1)
		consumers.Add(1)
		go func() {
			for i := 0; i < n/4; i++ {
				ch <- i
			}
			producers.Done()
		}()
		go func() {
			sum := 0
			for v := range ch {
				sum += v
			}
			consumers.Done()
		}()
	}
	producers.Wait()
	close(ch)
	consumers.Wait()
}

// pass sends n values, made by build(i), to this goroutine, which gives each to use.
func pass[T any](n, slots int, build func(i int) T, use func(v T)) {
	ch := make(chan T, slots)
	go func() {
		for i := 0; i < n; i++ {
			ch <- build(i)
		}
		close(ch)
	}()
	for v := range ch {
		use(v)
	}
}

func stream(n int) {
	sum := 0
	pass(n, slots, func(i int) int { return i }, func(v int) { sum += v })
	if sum != n*(n-1)/2 {
		panic("wrong sum")
	}
}

type item struct {
	id   int
	name string
	tags []string
}

var lastItem *item

func record(n int)     { records(n, slots) }
func recordHand(n int) { records(n, 0) }

func records(n, slots int) {
	tags := []string{"red", "green", "blue"}
	pass(n, slots, func(i int) *item {
		return &item{i, "a name", append([]string(nil), tags...)}
	}, func(v *item) { lastItem = v })
}

func closure(n int) {
	sum := 0.0
	pass(n, slots, func(i int) func() float64 {
		a, b, c := i, 2.5, "three"
		return func() float64 { return float64(a) + b + float64(len(c)) }
	}, func(f func() float64) { sum += f() })
}

func string1m(n int) {
	s := bytes.Repeat([]byte("x"), mib)
	pass(n, 0, func(int) []byte { return append([]byte(nil), s...) }, func([]byte) {})
}

type table struct {
	list []int
	dict map[string]int
}

func table10k(n int) {
	t := table{make([]int, 5000), map[string]int{}}
	for i := 1; i <= 5000; i++ {
		t.list[i-1] = i
		t.dict["key"+strconv.Itoa(i)] = i
	}
	pass(n, 0, func(int) table {
		dict := make(map[string]int, len(t.dict))
		for k, v := range t.dict {
			dict[k] = v
		}
		return table{append([]int(nil), t.list...), dict}
	}, func(table) {})
}

// --- locks and maps ---------------------------------------------------------------------------

// Four goroutines, each of which calls f(i, n / 4) for its number i.
func four(n int, f func(i, k int)) {
	var wg sync.WaitGroup
	wg.Add(4)
	for i := 0; i < 4; i++ {
		go func(i int) {
			f(i, n/4)
			wg.Done()
		}(i)
	}
	wg.Wait()
}

func mutex(n int) {
	var mu sync.Mutex
	for i := 0; i < n; i++ {
		mu.Lock()
		mu.Unlock()
	}
}

func deferred(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

func mutexClose(n int) {
	var mu sync.Mutex
	for i := 0; i < n; i++ {
		deferred(&mu)
	}
}

func mutex4(n int) {
	var mu sync.Mutex
	counter := 0
	four(n, func(_, k int) {
		for i := 0; i < k; i++ {
			mu.Lock()
			counter++
			mu.Unlock()
		}
	})
	if counter != n/4*4 {
		panic("wrong count")
	}
}

const keys = 1000

// A load and a store; of one key, or of keys of one's own.
func mapPass(m *sync.Map, k int, names []string) {
	for j := 0; j < k; j++ {
		name := names[j%len(names)]
		m.Load(name)
		m.Store(name, j)
	}
}

func mapOne(n int) {
	var m sync.Map
	four(n, func(_, k int) { mapPass(&m, k, []string{"key"}) })
}

func mapMany(n int) {
	var m sync.Map
	four(n, func(i, k int) {
		names := make([]string, keys)
		for j := range names {
			names[j] = fmt.Sprintf("key %d %d", i, j)
		}
		mapPass(&m, k, names)
	})
}

// sync.Map has no update: a map under a mutex.
func mapUpdate(n int) {
	var mu sync.Mutex
	m := map[string]int{}
	four(n, func(_, k int) {
		for j := 0; j < k; j++ {
			mu.Lock()
			m["key"]++
			mu.Unlock()
		}
	})
	if m["key"] != n/4*4 {
		panic("wrong count")
	}
}

// --- computing --------------------------------------------------------------------------------

func collatz(n int) int {
	steps := 0
	for i := 1; i <= n; i++ {
		for x := i; x != 1; steps++ {
			if x%2 == 0 {
				x /= 2
			} else {
				x = 3*x + 1
			}
		}
	}
	return steps
}

func compute(n int) {
	results := make(chan int, 4)
	for i := 0; i < 4; i++ {
		go func() { results <- collatz(n) }()
	}
	steps := <-results
	for i := 1; i < 4; i++ {
		if <-results != steps {
			panic("wrong count")
		}
	}
}

// --- time and contexts -------------------------------------------------------------------------

// The 99th percentile of how far the gaps between n ticks of 1 ms are from it, in microseconds.
func jitter(n int) float64 {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	<-ticker.C
	off := make([]float64, n)
	last := time.Now()
	for i := range off {
		<-ticker.C
		now := time.Now()
		off[i] = now.Sub(last).Seconds()*1e6 - 1000
		if off[i] < 0 {
			off[i] = -off[i]
		}
		last = now
	}
	sort.Float64s(off)
	return off[n*99/100]
}

// Milliseconds it takes to cancel a tree of n contexts, ten below each.
func contexts(n int) float64 {
	ctxs := make([]context.Context, n)
	root, cancelRoot := context.WithCancel(context.Background())
	ctxs[0] = root
	cancels := []context.CancelFunc{cancelRoot}
	for i := 1; i < n; i++ {
		ctx, cancel := context.WithCancel(ctxs[(i-1)/10])
		ctxs[i] = ctx
		cancels = append(cancels, cancel)
	}
	start := time.Now()
	cancelRoot()
	elapsed := time.Since(start)
	for _, ctx := range ctxs {
		if ctx.Err() == nil {
			panic("not cancelled")
		}
	}
	for _, cancel := range cancels {
		cancel()
	}
	return elapsed.Seconds() * 1e3
}

// --- the list ---------------------------------------------------------------------------------

type workload struct {
	name  string
	n     int
	unit  string
	run   func(n int)
	fixed bool // n is a size, not to be scaled
	main  bool // run by the main goroutine (all the same to Go)
}

var list = []workload{
	{"spawn", 1500000, "ns", spawn, false, false},
	{"parked", 100000, "bytes", nil, true, false},
	{"pingpong", 1000000, "ns", pingpong, false, false},
	{"pingpong_main", 1000000, "ns", pingpong, false, true},
	{"stream", 10000000, "ns", stream, false, false},
	{"prodcons", 8000000, "ns", prodcons, false, false},
	{"ring", 2000000, "ns", ring, false, false},
	{"sieve", 1000, "ms", sieve, true, false},
	{"skynet", 100000, "ms", skynet, true, false},
	{"select4", 1000000, "ns", select4, false, false},
	{"record", 2500000, "ns", record, false, false},
	{"record_hand", 2500000, "ns", recordHand, false, false},
	{"sleepers", 100000, "s", sleepers, true, false},
	{"compute", 120000, "s", compute, false, false},
	{"closure", 4000000, "ns", closure, false, false},
	{"string1m", 1000, "MB/s", string1m, false, false},
	{"table10k", 1000, "us", table10k, false, false},
	{"mutex", 50000000, "ns", mutex, false, false},
	{"mutex_close", 50000000, "ns", mutexClose, false, false},
	{"mutex4", 10000000, "ns", mutex4, false, false},
	{"map_one", 4000000, "ns", mapOne, false, false},
	{"map_many", 4000000, "ns", mapMany, false, false},
	{"map_update", 4000000, "ns", mapUpdate, false, false},
	{"jitter", 1000, "us", nil, false, false},
	{"contexts", 10000, "ms", nil, true, false},
}

// Those without run give the figure themselves.
var figures = map[string]func(n int) float64{
	"parked": parked, "jitter": jitter, "contexts": contexts,
}

func main() {
	if len(os.Args) < 2 {
		for _, w := range list {
			fmt.Printf("%-14s %8d\n", w.name, w.n)
		}
		return
	}
	for _, w := range list {
		if w.name != os.Args[1] {
			continue
		}
		n := w.n
		if len(os.Args) > 2 {
			n, _ = strconv.Atoi(os.Args[2])
		} else if scale, err := strconv.ParseFloat(os.Getenv("BENCH_SCALE"), 64); err == nil && !w.fixed {
			n = int(float64(n) * scale)
		}
		if n < 1 {
			n = 1
		}
		if w.run == nil {
			fmt.Printf("%s %.6g %s\n", w.name, figures[w.name](n), w.unit)
			return
		}
		start := time.Now()
		if w.main {
			w.run(n)
		} else {
			done := make(chan bool)
			go func() {
				w.run(n)
				done <- true
			}()
			<-done
		}
		seconds := time.Since(start).Seconds()
		value := map[string]float64{
			"ns":   seconds * 1e9 / float64(n),
			"us":   seconds * 1e6 / float64(n),
			"ms":   seconds * 1e3,
			"s":    seconds,
			"MB/s": float64(n) * mib / 1e6 / seconds,
		}[w.unit]
		fmt.Printf("%s %.6g %s\n", w.name, value, w.unit)
		return
	}
	fmt.Fprintf(os.Stderr, "no workload '%s'\n", os.Args[1])
	os.Exit(2)
}
