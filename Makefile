# build, test, demo, lint, install, deb, dist, clean. Each installs the Debian packages that it needs and lacks.

SHELL = /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=

# One static executable that runs on any Linux of its processor. The linker's warnings about functions that want the
# shared C library mean nothing here: none of them is called.
STATIC = -Xswiftc -static-executable -Xlinker -s -Xlinker --gc-sections
BINARY = .build/release/portmap

# $(call need,program:package ...): installs the packages whose programs are not there.
define need
@missing=""; for pair in $(1); do \
  PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
if [ -n "$$missing" ]; then echo "installing$$missing"; apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

TOOLS = iptables:iptables ip:iproute2
# What tests see the kernel's tracked connections with.
WITNESS = conntrack:conntrack
# What the demo and the examples use, and what more the recipes do.
EXAMPLES = busybox:busybox curl:curl dig:bind9-dnsutils dnsmasq:dnsmasq-base pkill:procps python3:python3 \
  systemd-socket-activate:systemd
RECIPES = pytest-3:python3-pytest yq:yq
SHELLS = zsh:zsh fish:fish

.PHONY: build
build:
	swift build -c release --product portmap $(STATIC)

# firewalld is unpacked and not installed: where it is installed it closes the machine.
FIREWALLD = .build/firewalld
# dockerd neither: where it is installed it runs.
DOCKER = .build/docker
# Plugins that container runtimes would find where they are installed.
CNI = .build/cni
# podman 4.3 with what it needs; runc and busybox come with dockerd.
PODMAN = .build/podman

.PHONY: test
test: lint build
	$(call need,$(TOOLS) $(WITNESS) $(EXAMPLES) $(RECIPES) $(SHELLS) unshare:util-linux nsenter:util-linux ss:iproute2 \
	  sysctl:procps dpkg-deb:dpkg haproxy:haproxy ufw:ufw nft:nftables dbus-daemon:dbus-daemon strace:strace)
	@/usr/bin/python3 -c 'import dbus, gi' 2>/dev/null || DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends python3-dbus python3-gi >/dev/null
	@test -e $(FIREWALLD)/usr/sbin/firewalld || { mkdir -p $(FIREWALLD) && cd $(FIREWALLD) && \
	  apt-get download -qq firewalld python3-firewall python3-nftables && \
	  for package in *.deb; do dpkg -x "$$package" . && rm "$$package"; done; }
	@ldconfig -p | grep -q libdevmapper.so.1.02.1 && ldconfig -p | grep -q libseccomp.so.2 || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libdevmapper1.02.1 libseccomp2 >/dev/null
	@test -e $(DOCKER)/bin/busybox || { mkdir -p $(DOCKER) && cd $(DOCKER) && \
	  apt-get download -qq docker.io containerd runc busybox-static && \
	  for package in *.deb; do dpkg -x "$$package" . && rm "$$package"; done; }
	@test -e $(CNI)/usr/lib/cni/bridge || { mkdir -p $(CNI) && cd $(CNI) && \
	  apt-get download -qq containernetworking-plugins && \
	  for package in *.deb; do dpkg -x "$$package" . && rm "$$package"; done; }
	@ldconfig -p | grep -q libglib-2.0.so.0 || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libglib2.0-0 >/dev/null
	@test -e $(PODMAN)/usr/bin/podman || { mkdir -p $(PODMAN) && cd $(PODMAN) && \
	  apt-get download -qq podman conmon golang-github-containers-common golang-github-containers-image \
	    libgpgme11 libassuan0 libsubid4 && \
	  for package in *.deb; do dpkg -x "$$package" . && rm "$$package"; done; }
	swift build --build-tests
	@set -o pipefail; PORTMAP_BINARY=$(CURDIR)/$(BINARY) swift test 2>&1 | tee .build/test.log || \
	  { echo "failed:"; grep -a "✘ Test" .build/test.log; exit 1; }
	@if [ "$$(uname -m)" = x86_64 ] && $(MAKE) --no-print-directory qemu; then $(MAKE) --no-print-directory test-vm; \
	  else echo "not run: test-vm (SCTP sockets, a second kernel), for there is no qemu for $$(uname -m) to install"; fi

# Debian's kernel in a virtual machine: SCTP sockets, and TCP and UDP on a second kernel.
.PHONY: test-vm qemu
test-vm: build qemu
	$(call need,$(TOOLS) $(WITNESS) cpio:cpio depmod:kmod setpriv:util-linux)
	Tests/VM/run $(BINARY) .build/vm

qemu:
	$(call need,qemu-system-x86_64:qemu-system-x86)

# In the manual .Ql quotes the rest of its line, another .Ql too: that shows as two quotes in a row.
.PHONY: lint
lint:
	$(call need,$(SHELLS) shellcheck:shellcheck mandoc:mandoc)
	swift format lint --strict --recursive Package.swift Sources Tests
	Tests/layers
	bash -n completions/portmap.bash && zsh -n completions/_portmap && fish -n completions/portmap.fish
	shellcheck completions/portmap.bash Tests/layers $$(grep -lE "^#!" packaging/*) \
	  $$(grep -lrE "^#!.*bash|shellcheck shell" recipes)
	! mandoc -T lint man/portmap.8 2>/dev/null | grep -v 'referenced manual not found'
	! mandoc -T ascii man/portmap.8 2>/dev/null | grep "''"

.PHONY: demo
demo: build
	$(call need,$(TOOLS) $(EXAMPLES))
	Tests/demo $(BINARY)

# Where Debian looks for them; zsh looks elsewhere for what is in /usr/local.
ZSH_FOLDER = $(if $(filter /usr/local,$(PREFIX)),site-functions,vendor-completions)

# Side by side with what people use: `make bench` takes under two minutes, `make bench FULL=1` some ten. SECTIONS picks
# some of: commands memory plugin rules proxies loopback watch. Results go to .build/bench.
BENCH = .build/bench
PEERS = haproxy:haproxy socat:socat nginx:nginx-light pasta:passt
.PHONY: bench
bench: build
	$(call need,$(TOOLS) python3:python3 $(PEERS) /usr/lib/cni/portmap:containernetworking-plugins)
	@test -e /usr/lib/nginx/modules/ngx_stream_module.so || DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends libnginx-mod-stream >/dev/null
	@test -e $(BENCH)/docker/usr/sbin/docker-proxy || { mkdir -p $(BENCH)/docker && cd $(BENCH) && \
	  apt-get download -qq docker.io && dpkg -x docker.io_*.deb docker && rm docker.io_*.deb; }
	swift build -c release --product load
	Tests/Benchmarks/run $(BINARY) .build/release/load $(BENCH) --docker-proxy $(BENCH)/docker/usr/sbin/docker-proxy \
	  $(if $(FULL),--full) $(SECTIONS)

# SIGKILL before every system call of map, unmap and alloc in turn, and at random instants; the calls that change
# something, in three scenarios, with QUICK=1. SCENARIOS names those to run: map, unmap, alloc, … (Scenario.swift).
SANDBOX = unshare --net --mount --pid --fork --kill-child --mount-proc

.PHONY: test-faults
test-faults: build
	$(call need,$(TOOLS) strace:strace unshare:util-linux sysctl:procps)
	swiftc -swift-version 6 -warnings-as-errors -O -o .build/faults Tests/Faults/*.swift
	$(SANDBOX) .build/faults $(CURDIR)/$(BINARY) $(if $(QUICK),quick,full) $(SCENARIOS)

# The readers of everything that comes from outside, under libFuzzer, for so many seconds in all.
FUZZ_SECONDS ?= 600

.PHONY: fuzz
fuzz:
	$(call need,clang:clang)
	mkdir -p .build/fuzz
	for part in Sources/CLinux/*.c; do \
	  clang -c -O1 -I Sources/CLinux/include "$$part" -o ".build/fuzz/$$(basename "$$part" .c).o" || exit 1; done
	swiftc -swift-version 6 -O -wmo -parse-as-library -sanitize=fuzzer -profile-generate -profile-coverage-mapping \
	  -module-name portmap -I Tests/Fuzz -o .build/fuzz/readers \
	  $$(find Sources/portmap -name '*.swift' ! -name main.swift) Tests/Fuzz/*.swift .build/fuzz/*.o
	Tests/Fuzz/run $(FUZZ_SECONDS)

# Rounds of map, traffic and unmap: nothing may grow. For every day: make soak ROUNDS=300. With SECONDS=7200
# constant traffic over two hundred mappings instead.
ROUNDS ?= 10000

.PHONY: soak
soak: build
	$(call need,$(TOOLS) $(WITNESS) unshare:util-linux sysctl:procps)
	swiftc -swift-version 6 -warnings-as-errors -O -o .build/soak Tests/Soak/*.swift Tests/Faults/{Machine,Sandbox}.swift
	$(SANDBOX) .build/soak $(CURDIR)/$(BINARY) $(if $(SECONDS),seconds $(SECONDS),rounds $(ROUNDS))

# The unit tests, the proxy's and the readers' above all, once under each sanitizer.
.PHONY: sanitize
sanitize:
	for kind in thread address; do \
	  timeout 1200 swift test --sanitize=$$kind --scratch-path .build/sanitize-$$kind --filter PortmapTests || exit 1; \
	done

.PHONY: install
install: build
	packaging/install $(BINARY) "$(DESTDIR)$(PREFIX)" $(ZSH_FOLDER) "$(PREFIX)"
	test -e "$(DESTDIR)/etc/portmap.conf" || install -D -m 0644 packaging/portmap.conf "$(DESTDIR)/etc/portmap.conf"

.PHONY: deb
deb: build
	$(call need,dpkg-deb:dpkg)
	packaging/deb $(BINARY) .build/dist

.PHONY: dist
dist: build
	$(call need,sha256sum:coreutils tar:tar)
	packaging/dist $(BINARY) .build/dist

.PHONY: clean
clean:
	rm -rf .build
