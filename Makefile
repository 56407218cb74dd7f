# goro: build, test and check.  `make help` lists the targets.

CC ?= cc
CFLAGS ?= -O2 -Wall -Wextra
LUA ?= lua5.4
SAN_CC ?= gcc
TIMEOUT ?= 600
PROCS ?= 1 2 8
N ?= 20
LIFE ?= 100
RUNS ?= 5
SEEDS ?= 300
SEED ?= 1
SECONDS ?= 20
GOROGC ?= 10
GC_SPECS ?= plain class map errgroup task cond image goroutine context
IMAGE_SPECS ?= image modimage load modules plain class marshal task goroutine once context
CHAOS_SPECS ?= chan select mutex rwmutex waitgroup cond semaphore once task
PREFIX ?= /usr/local

# Which specs to run, and further options for busted: make specs SPECS=spec/chan_spec.lua
SPECS ?=
BUSTED_FLAGS ?=

ifndef LUA_INCDIR
LUA_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
else
LUA_CFLAGS := -I$(LUA_INCDIR)
endif
LUA_LIBS ?= $(shell pkg-config --libs lua5.4 2>/dev/null || echo -llua5.4)

SRC := $(sort $(wildcard src/*.c))
HDR := $(sort $(wildcard src/*.h))
CORE := $(shell tools/layers.sh core 2>/dev/null)
UNITS := $(sort $(wildcard tests/c/test_*.c))
HOSTS := $(sort $(wildcard tests/c/host_*.c))
LUA_DIRS := $(wildcard lua spec examples bench bin/goro-top)

# -iquote, not -I: src/sched.h must not stand before the system's <sched.h>.
base_flags = -std=gnu11 -fPIC -pthread -iquote src $(LUA_CFLAGS)
link_flags = -shared -pthread -Wl,--version-script=tools/exports.map

# What users' environments hold must not reach the specs.
export LUA LUA_INCDIR CC SAN_CC
unexport LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4 LUA_INIT LUA_INIT_5_4

.PHONY: all release run test specs lifecycle unit hosts lint lint-lua lint-c lint-headers lint-cppcheck lint-rockspec \
  debug asan tsan valgrind images gc gc-short chaos histories soak mutants alarms stress fuzz bench bench-http bench-modules bench-peers bench-plot bench-docs bench-trace fair model tidy cov layers symbols rock rockspec install install-deps \
  deps-run deps-test deps-ci clean help FORCE
.DELETE_ON_ERROR:

all: release                                   ## build build/goro/core.so (the default)
release: build/goro/core.so

# --- variants -------------------------------------------------------------------------------
# $(call variant,name,directory,compiler,flags): directory/goro/core.so from build/obj/name/*.o,
# directory/unit/test_* from tests/c and the Lua-free layers, directory/host/host_* with liblua.
# The files `flags` and `objects` change with the command line and the list of sources.
define variant
$(1)_cc = $(3)
$(1)_flags = $(4)
$(1)_compile = $$($(1)_cc) $$(base_flags) $$(CPPFLAGS) $$($(1)_flags)
$(1)_objects := $$(SRC:src/%.c=build/obj/$(1)/%.o)

build/obj/$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$$($(1)_compile) $$(LDFLAGS) $$(LUA) $$(LUA_LIBS)' | cmp -s - $$@ || \
	  echo '$$($(1)_compile) $$(LDFLAGS) $$(LUA) $$(LUA_LIBS)' > $$@
build/obj/$(1)/objects: FORCE
	@mkdir -p $$(@D)
	@echo '$$($(1)_objects) $$(CORE)' | cmp -s - $$@ || \
	  echo '$$($(1)_objects) $$(CORE)' > $$@

build/obj/$(1)/%.o: src/%.c build/obj/$(1)/flags
	$$($(1)_compile) -MMD -MP -c -o $$@ $$<

$(2)/goro/core.so: $$($(1)_objects) build/obj/$(1)/objects tools/exports.map
	@mkdir -p $$(@D)
	$$($(1)_cc) $$($(1)_flags) $$(link_flags) $$(LDFLAGS) -o $$@ $$($(1)_objects) $$(LDLIBS)

$(2)/unit/%: tests/c/%.c $$(CORE:src/%.c=build/obj/$(1)/%.o) build/obj/$(1)/objects
	@mkdir -p $$(@D) build/obj/$(1)/unit
	$$($(1)_compile) -MMD -MP -MF build/obj/$(1)/unit/$$*.d $$(LDFLAGS) -o $$@ $$< \
	  $$(CORE:src/%.c=build/obj/$(1)/%.o) $$(LDLIBS)

$(2)/host/%: tests/c/%.c build/obj/$(1)/flags
	@mkdir -p $$(@D) build/obj/$(1)/host
	$$($(1)_compile) -MMD -MP -MF build/obj/$(1)/host/$$*.d $$(LDFLAGS) -o $$@ $$< \
	  $$(LUA_LIBS) $$(LDLIBS)

-include $$(wildcard build/obj/$(1)/*.d build/obj/$(1)/*/*.d)

$(1)_units := $$(UNITS:tests/c/%.c=$(2)/unit/%)
$(1)_hosts := $$(HOSTS:tests/c/%.c=$(2)/host/%)
$(1)_build := $(2)/goro/core.so $$($(1)_hosts)
endef

comma := ,
warn := -Wall -Wextra
# Where tests can make allocations fail (src/fault.h).
fault := -DGORO_FAULTS -include src/fault.h
san := -g -O1 -fno-omit-frame-pointer $(warn)
$(eval $(call variant,release,build,$$(CC),$$(CFLAGS)))
$(eval $(call variant,debug,build/debug,$$(CC),-g3 -O1 $(warn) -DGORO_DEBUG $(fault)))
# Undefined behaviour traps and AddressSanitizer reports the trap (ILL, with its line): UBSan's
# own runtime, loaded late, forgets where to log.  Overflows are AddressSanitizer's alone.
$(eval $(call variant,asan,build/asan,$$(SAN_CC),$(san) -fsanitize=address$$(comma)undefined \
  -fno-sanitize=object-size -fsanitize-undefined-trap-on-error $(fault) $$(SAN_FLAGS)))
$(eval $(call variant,tsan,build/tsan,$$(SAN_CC),$(san) -fsanitize=thread $(fault) $$(SAN_FLAGS)))
tsan_units := $(filter-out %/test_arena %/test_big,$(tsan_units))  # (of one thread)
$(eval $(call variant,cov,build/cov,$$(CC),-g -O0 $(warn) --coverage -fprofile-update=atomic))
$(eval $(call variant,chaos,build/chaos,$$(CC),-g -O1 $(warn) -DGORO_DEBUG -DGORO_CHAOS $(fault)))
$(eval $(call variant,valgrind,build/valgrind,$$(CC),-g -O1 $(warn) -DGORO_VALGRIND))
$(eval $(call variant,lint,build/lint,$$(CC),-O2 $(warn) -Wpedantic -Wshadow -Werror))

# libFuzzer is clang's.  Lua's library is linked in, so that what the target wraps is wrapped.
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 20
FUZZ_FLAGS ?=
fuzz_san := $(san) -fno-sanitize-recover=all -fsanitize=address$(comma)undefined
$(eval $(call variant,fuzz,build/fuzz,$$(FUZZ_CC),$(fuzz_san) -fsanitize=fuzzer-no-link))

build/fuzz/%: tests/fuzz/%.c $(fuzz_objects)
	@mkdir -p $(@D)
	$(fuzz_compile) -fsanitize=fuzzer -Wl,--wrap=luaL_loadbufferx -Wl,--wrap=stdlibs_push \
	  -Wl,-E -o $@ $< $(fuzz_objects) $(FUZZ_LUA_LIBS) $(LDLIBS) -lm -ldl
FUZZ_LUA_LIBS ?= -Wl,-Bstatic $(LUA_LIBS) -Wl,-Bdynamic

build/nodlclose.so build/tsanjmp.so: build/%.so: tests/c/%.c
	@mkdir -p $(@D)
	$(SAN_CC) -O2 -fPIC -shared -o $@ $<

# How specs start Lua under a tool.
build/asan/bin/lua5.4 build/tsan/bin/lua5.4 build/valgrind/bin/lua5.4: build/%/bin/lua5.4: \
    build/nodlclose.so build/tsanjmp.so tools/shim.sh build/obj/%/flags
	tools/shim.sh $*

# --- running --------------------------------------------------------------------------------
# $(call busted,options): the specs in this variable environment, never longer than TIMEOUT.
busted = timeout --foreground -k 10 $(TIMEOUT) tools/lua tools/busted.lua --ignore-lua $(1) \
  $(BUSTED_FLAGS) $(SPECS)
# SKIP=tag,tag: what debug and tsan leave out of the specs (.ci/run)
skip = $(addprefix $(comma),$(SKIP))
# $(call units,variant)
units = tools/unit.sh $(TIMEOUT) $($(1)_units)

run: deps-run                                ## build, then run examples/wordcount.lua --compare
	$(MAKE) --no-print-directory release
	tools/lua examples/wordcount.lua --compare

test: deps-test                             ## specs on 1, 2 and 8 processors, C tests, the rock
	$(MAKE) --no-print-directory specs PROCS="$(wordlist 1,2,$(PROCS))"
	$(MAKE) --no-print-directory -j2 --output-sync=recurse test-specs test-rest

.PHONY: test-specs test-rest
test-specs:
	$(MAKE) --no-print-directory -j1 specs PROCS="$(wordlist 3,9,$(PROCS))"
test-rest:
	$(MAKE) --no-print-directory -j1 lifecycle LIFE=10
	$(MAKE) --no-print-directory -j1 unit
	$(MAKE) --no-print-directory -j1 rock

specs: $(release_build)                        ## the specs alone (SPECS=file, PROCS="1 2 8")
	@tools/specs.sh "$(PROCS)" $(call busted,$(if $(SPECS),,--exclude-tags=lifecycle$(comma)valgrind))

lifecycle: $(release_build)                    ## how processes end (LIFE=100 times each), valgrind
	GOROLIFE=$(LIFE) timeout --foreground -k 10 1200 tools/lua tools/busted.lua --ignore-lua \
	  --tags=lifecycle,valgrind

unit: $(release_units)                         ## tests/c alone: the layers that know no Lua
	@$(call units,release)

OPENS ?= 10000
hosts: release                                 ## 4 threads of a C program open and close goro OPENS=10000 times
	tools/lua -e 'print(assert(require("spec.support.host").build("shared")))'
	LUA_CPATH="$(CURDIR)/build/?.so" LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua" \
	  MALLOC_ARENA_MAX=1 timeout --foreground -k 10 $(TIMEOUT) build/tests/host threads 4 $$(($(OPENS) / 4))

build/tests/adverse.so: tests/c/adverse.c
	tools/lua -e 'assert(require("spec.support.clib")("adverse"))'
alarms: $(release_build) build/tests/adverse.so  ## the specs with 1000 SIGALRM a second
	ADVERSE_HZ=1000 ADVERSE_CHILDREN=1 LD_PRELOAD="$(CURDIR)/build/tests/adverse.so" \
	  $(call busted,--exclude-tags=lifecycle$(comma)valgrind$(comma)noalarm)

debug: $(debug_build) $(debug_units)           ## specs, C tests with checks and perturbation
	GOROBUILD=debug $(call busted,--exclude-tags=lifecycle$(comma)valgrind$(skip))
	@$(call units,debug)

asan_all := $(asan_build) $(asan_units) build/asan/bin/lua5.4
asan: $(asan_all)                              ## the same under AddressSanitizer and UBSan
	tools/sanitize.sh asan $(call busted,--exclude-tags=nosan$(comma)lifecycle$(comma)valgrind)
	tools/sanitize.sh asan $(call units,asan)

tsan_all := $(tsan_build) $(tsan_units) build/tsan/bin/lua5.4
tsan: $(tsan_all)                              ## the same under ThreadSanitizer
	tools/sanitize.sh tsan $(call busted,--exclude-tags=nosan$(comma)notsan$(comma)lifecycle$(comma)valgrind$(skip))
	tools/sanitize.sh tsan $(call units,tsan)

valgrind: $(valgrind_build) build/valgrind/bin/lua5.4  ## the specs under valgrind
	GOROLIMIT=300 GOROTESTLIMIT=900 tools/sanitize.sh valgrind \
	  $(call busted,--exclude-tags=nosan$(comma)novalgrind$(comma)lifecycle$(comma)valgrind)

gc: $(debug_build)                             ## the specs with collections all the time, GOROGC=10
	GOROGC=$(GOROGC) GOROBUILD=debug \
	  $(call busted,--exclude-tags=lifecycle$(comma)valgrind)

# What holds most by addresses alone; the whole takes minutes.
gc-short:
	$(MAKE) --no-print-directory gc SPECS="$(GC_SPECS:%=spec/%_spec.lua)"

# The specs that images matter to, with one for every start, and with none; all: GOROIMAGE=0 make specs.
images: $(release_build)                       ## IMAGE_SPECS with GOROIMAGE=always, and 0
	@for way in always 0; do \
	  echo "== specs, GOROIMAGE=$$way"; \
	  GOROIMAGE=$$way GOROMAXPROCS=2 timeout --foreground -k 10 $(TIMEOUT) tools/lua tools/busted.lua \
	    --ignore-lua --exclude-tags=lifecycle$(comma)valgrind $(IMAGE_SPECS:%=spec/%_spec.lua) || exit 1; \
	done

stress: release debug                     ## the specs N times (N=20), seeded, 1 to 8 processors
	tools/stress.sh $(N) $(call busted,--exclude-tags=nostress$(comma)lifecycle$(comma)valgrind --shuffle)

chaos: $(chaos_build)                  ## all decisions from a seed: SEEDS=300 explored, and specs
	GOROBUILD=chaos timeout --foreground -k 10 $(TIMEOUT) tools/lua tools/busted.lua --ignore-lua \
	  tests/chaos/chaos_spec.lua
	CHAOS_SPECS="$(CHAOS_SPECS)" tools/chaos.sh $(SEEDS) $(SEED)
	@for n in 1 2; do for file in $(CHAOS_SPECS); do \
	  GOROBUILD=chaos GOROMAXPROCS=$$n GOROCHAOS=$(SEED)$$n timeout --foreground -k 10 $(TIMEOUT) \
	    tools/lua tools/busted.lua --ignore-lua --exclude-tags=lifecycle$(comma)valgrind$(comma)nochaos \
	    spec/$${file}_spec.lua || exit 1; \
	done; done

histories: release                             ## random programs, their histories checked, SECONDS=20
	@for n in 1 2 8; do GOROMAXPROCS=$$n tools/lua tests/history/run.lua $(SECONDS) || exit 1; done

# One heap for all threads, and none of libc's caches (230 KB in each thread, which fill slowly): what
# grows then is goro's.
soak: release                                  ## everything at once for SECONDS=600, memory flat
	@mkdir -p build
	GLIBC_TUNABLES=glibc.malloc.tcache_count=0 MALLOC_ARENA_MAX=1 \
	  tools/lua tests/soak/soak.lua $(if $(filter file,$(origin SECONDS)),600,$(SECONDS)) \
	  2> build/soak.log || { tail -n 30 build/soak.log; exit 1; }

mutants:                                       ## do the histories find faults put into src/?
	tools/mutants.sh

fuzz: build/fuzz/marshal                       ## the decoder and encoder, for FUZZ_SECONDS=20
	@mkdir -p build/fuzz/found
	ASAN_OPTIONS=detect_leaks=1 build/fuzz/marshal -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
	  -max_len=4096 -print_final_stats=0 -verbosity=0 -artifact_prefix=build/fuzz/found/ \
	  $(FUZZ_FLAGS) build/fuzz/found $(wildcard tests/fuzz/corpus)

bench: release                                 ## the table of docs/performance.md, and bounds
	@mkdir -p build/bench
	tools/lua bench/run.lua --runs $(RUNS) --table build/bench/table.md --data build/bench/data.tsv

build/bench/data.tsv build/bench/table.md:
	$(MAKE) --no-print-directory bench
build/bench/scale.md: | release
	if [ -f bench/scale.lua ]; then tools/lua bench/scale.lua | tee $@; else : > $@; fi

bench-plot: release build/bench/data.tsv build/bench/scale.md  ## draw docs/*.svg (gnuplot)
	tools/lua bench/plot.lua build/bench/data.tsv docs/performance.svg \
	  build/bench/scale.md docs/scale.svg

bench-docs:                                    ## all of it anew, into docs/performance.md, README
	rm -f build/bench/data.tsv build/bench/table.md build/bench/scale.md
	$(MAKE) --no-print-directory bench-plot bench-peers
	tools/lua bench/docs.lua docs/performance.md table build/bench/table.md:1 \
	  bounds build/bench/table.md:2 run build/bench/table.md:3 scale build/bench/scale.md
	tools/lua bench/docs.lua README.md table build/bench/table.md:1 \
	  run build/bench/table.md:3 peers build/bench/peers.md

bench-peers: release                           ## beside luv's and cqueues' threads (if installed)
	@mkdir -p build/bench
	tools/lua bench/peers.lua --runs $(RUNS) --table build/bench/peers.md
	@cat build/bench/peers.md

bench-modules: release                         ## goroutines that capture modules; json_server.lua
	tools/lua bench/modules.lua --runs $(RUNS)
	tools/lua bench/json.lua --runs $(RUNS)

fair: release                                  ## what preemption costs, and how late a sleeper wakes
	bench/preempt.sh
	GOROMAXPROCS=1 tools/lua bench/starve.lua

bench-trace: release                           ## what goro.trace costs
	tools/lua bench/trace.lua --runs $(RUNS)

bench-http: release                            ## the HTTP server beside copas, luv and Go
	bench/http/run.sh $(HTTP_SECONDS)

# --- checks ---------------------------------------------------------------------------------
lint: lint-lua lint-c lint-headers lint-cppcheck layers symbols lint-rockspec  ## what looks without running

lint-lua:
	luacheck --no-cache -q $(LUA_DIRS)

lint-c: $(lint_objects)

lint-headers:                                  # every header compiles alone, hides its symbols
	@if grep -L 'visibility push(hidden)' $(HDR) | grep .; then \
	  echo "lint: these headers do not hide their symbols" >&2; exit 1; fi
	@for h in $(HDR); do \
	  $(lint_compile) -fsyntax-only -x c -include $$h /dev/null || exit 1; \
	done

lint-cppcheck:                                 # what it says wrongly stands in cppcheck.txt
	cppcheck -j2 --quiet --std=c11 --platform=unix64 --enable=warning,performance,portability \
	  --suppressions-list=tools/cppcheck.txt -D__linux__ -D__x86_64__ -D__GNUC__=12 \
	  -I src --error-exitcode=1 src

lint-rockspec:
	tools/rockspec.sh --check

model:                                         ## docs/model/*.pml with spin, and their mutants
	tools/model.sh

# How far the analyzer goes; CI, which has minutes, says less (a quarter of the time).
TIDY_NODES ?= 225000
tidy:                                     ## clang-tidy and clang's analyzer (.clang-tidy)
	ls src/*.c | xargs -P $$(nproc) -I{} timeout 300 clang-tidy --quiet {} -- -std=gnu11 -iquote src \
	  $(LUA_CFLAGS) -include tools/lint.h -DGORO_DEBUG \
	  -Xclang -analyzer-config -Xclang max-nodes=$(TIDY_NODES)

# Every process of a run adds to the same counters.
cov: $(cov_build) $(cov_units)                 ## line coverage of src/: build/cov/index.html, gcovr
	find build/obj/cov -name '*.gcda' -delete
	-GOROBUILD=cov $(call busted,--exclude-tags=valgrind$(comma)lifecycle)
	-@$(call units,cov)
	gcovr -r . --object-directory build/obj/cov --filter src/ --html-details build/cov/index.html \
	  --txt build/cov/coverage.txt --print-summary

layers:                                        ## does every file include lower layers only?
	tools/layers.sh

symbols: build/goro/core.so                    ## does core.so export luaopen_goro* only?
	tools/symbols.sh $<

rock:                                          ## build and load the LuaRocks package, offline
	tools/rock.sh

rockspec:                                    ## write goro-scm-1.rockspec from the files present
	tools/rockspec.sh

# --- the rest -------------------------------------------------------------------------------
deps-run deps-test deps-ci deps-docs: deps-%:
	@tools/ensure.sh $*

.PHONY: docs deps-docs
docs: deps-docs                                ## the site, in build/docs/html
	@mkdir -p build/docs
	$(LUA) tools/ldoc.lua types/goro.lua > build/docs/goro.lua
	cd docs && ldoc -q -c config.ld .

install-deps: deps-ci                       ## install what developing goro needs (apt, as root)

install: release                               ## copy to PREFIX (/usr/local) for Lua 5.4
	install -d $(DESTDIR)$(PREFIX)/lib/lua/5.4/goro $(DESTDIR)$(PREFIX)/share/lua/5.4 \
	  $(DESTDIR)$(PREFIX)/bin
	install -m 755 build/goro/core.so $(DESTDIR)$(PREFIX)/lib/lua/5.4/goro/
	install -m 755 bin/goro-top $(DESTDIR)$(PREFIX)/bin/
	cd lua && find goro -name '*.lua' -exec \
	  install -D -m 644 '{}' '$(abspath $(DESTDIR)$(PREFIX))/share/lua/5.4/{}' ';'

clean:                                         ## remove build/
	rm -rf build

help:                                          ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
