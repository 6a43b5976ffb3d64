# make run: a working cloud on this machine. `make help` lists the rest.

VENV := .venv
PY := $(VENV)/bin/python
HOSTS ?= 2
WORKERS ?= 3

# make tempest: which tests, how, and against what (CLOUD: the clouds.yaml of a cloud that runs already).
TEMPEST := .venv-tempest
IRONIC := .venv-ironic
REGEX ?= ^tempest\.api\.compute
MIN_MICROVERSION ?= 2.1
VIRT ?= fake
CONCURRENCY ?= 2
CLOUD ?=

# make test-openstack: the real services, of one release, and what they need of the machine.
OPENSTACK := .venv-openstack
OPENSTACK_PACKAGES := mariadb-server iptables ebtables conntrack haproxy dnsmasq-utils nfs-common

# make test-horizon: the dashboard, and a browser that looks at it.
HORIZON := .venv-horizon
HORIZON_PACKAGES := chromium nodejs npm

# make fuzz: how many requests, and which.
CASES ?= 20000
SEED ?= 1

# make test-ceph: a small Ceph.
CEPH_PACKAGES := ceph-mon ceph-osd ceph-mgr ceph-common

# make test-kernel: LVM.
KERNEL_PACKAGES := lvm2

# Debian packages: what a compute host needs, what building libvirt's binding needs, and what only tests need.
HOST_PACKAGES := libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils ovmf swtpm swtpm-tools dnsmasq-base nftables iproute2 genisoimage \
	mtools dosfstools openssh-client curl
BUILD_PACKAGES := libvirt-dev pkg-config gcc python3-dev python3-venv
SERVER_PACKAGES := postgresql rabbitmq-server
TEST_PACKAGES := cpio busybox-static dropbear-bin kmod e2fsprogs fdisk syslinux syslinux-common grub-common grub-efi-amd64-bin \
	tgt qemu-block-extra libxml2-utils openssl
PACKAGES := $(HOST_PACKAGES) $(BUILD_PACKAGES) $(SERVER_PACKAGES) $(TEST_PACKAGES)

# Only make test-browser needs these.
BROWSER := .browser
# NodeSource's nodejs brings npm along and conflicts with Debian's.
BROWSER_PACKAGES := chromium nodejs fonts-dejavu-core $(if $(shell command -v npm),,npm)

.PHONY: help install packages run test test-hosts test-browser test-metal tempest test-openstack test-horizon test-ceph test-kernel test-cloud-init fuzz check format bench lab lab-down schema lock clean distclean

help:
	@echo 'make install        a virtual environment in $(VENV), and as root the Debian packages that are missing'
	@echo 'make run            install, then start everything on this machine'
	@echo 'make test           install, then all tests ($(WORKERS) workers)'
	@echo 'make test-hosts     all that needs several hosts with real guests (root); its rehearsal of deaths too, which make test leaves out'
	@echo 'make test-metal     bare metal against a real Ironic, which it installs'
	@echo 'make test-browser   consoles of real guests in Chromium (root); installs it and what drives it'
	@echo 'make tempest        OpenStack'"'"'s acceptance tests against a cloud of its own; also REGEX=... MIN_MICROVERSION=2.104 CLOUD=clouds.yaml'
	@echo 'make test-openstack the same story with real Keystone, Glance ... in place of ours (root; downloads them once)'
	@echo 'make test-horizon   the panels of OpenStack'"'"'s dashboard against a cloud of its own, seen in a browser'
	@echo 'make test-ceph      volumes on a real Ceph RBD, and guests that have them (root); installs it'
	@echo 'make test-kernel    volumes on a real LVM, and VLANs, in a machine with Debian'"'"'s kernel (root)'
	@echo 'make test-cloud-init a whole Debian with cloud-init, told by metadata service and config drive (root); builds the image once'
	@echo 'make fuzz           requests at random against a cloud of its own; also CASES=20000 SEED=1'
	@echo 'make check          formatting, lint and types; changes nothing'
	@echo 'make format         format and fix what can be fixed'
	@echo 'make bench          measure, beside the budgets'
	@echo 'make lab HOSTS=2    several hypervisor hosts on this machine (root); make lab-down ends them'
	@echo 'make schema         write sql/api.sql and sql/cell.sql anew after adding a migration'
	@echo 'make lock           write requirements.lock from the virtual environment'
	@echo 'make clean          remove caches and builds; make distclean the environment as well'

install: packages $(VENV)/.installed

# As root, the missing packages are installed, none of their services started: we run what we need ourselves.
packages:
	@missing=; for p in $(PACKAGES); do \
		case "$$(dpkg-query -W -f '$${Status}' $$p 2>/dev/null)" in *' installed') ;; *) missing="$$missing $$p" ;; esac; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then \
		echo "Not installed (make install as root does it):$$missing"; exit 0; \
	fi; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
		trap 'rm -f '$$policy EXIT; printf '#!/bin/sh\nexit 101\n' > $$policy; chmod +x $$policy; \
	fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends $$missing

# The binding to libvirt is compiled: without libvirt's headers it is left out, and only the fake driver works.
$(VENV)/.installed: requirements.lock pyproject.toml
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		if $$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then echo 'Python 3.11 or newer, with its venv module, is needed.' >&2; exit 1; fi; \
	[ -x $(PY) ] || $$python -m venv $(VENV)
	@skip='^#'; pkg-config --exists libvirt 2>/dev/null || { skip='^#\|^libvirt-python='; echo 'No libvirt-dev: leaving out libvirt-python.'; }; \
	grep -v "$$skip" requirements.lock > $(VENV)/requirements.txt
	$(PY) -m pip install -q -r $(VENV)/requirements.txt
	$(PY) -m pip install -q --no-deps --no-build-isolation -e .
	$(PY) -m compileall -q nova_async
	@touch $@

run: install
	$(VENV)/bin/nova-async up

test: install
	$(PY) -m pytest -n $(WORKERS) --dist loadgroup

# One lab for all of them, so one after another.
test-hosts: install
	$(PY) -m pytest -v -m 'hosts or qemu' tests/lab tests/virt/test_live_migration.py tests/virt/test_shared_files.py \
		tests/virt/test_inside_guests.py

test-browser: install
	$(MAKE) packages PACKAGES='$(BROWSER_PACKAGES)'
	$(MAKE) $(BROWSER)/.installed
	$(PY) -m pytest -v -m browser tests/browser

$(BROWSER)/.installed: tests/browser/package.json
	@mkdir -p $(BROWSER)
	cp $< $(BROWSER)/package.json
	npm install --prefix $(BROWSER) --no-audit --no-fund --no-package-lock --ignore-scripts
	@touch $@

tempest: PACKAGES += iputils-ping
tempest: install $(TEMPEST)/.installed
	$(PY) -m tests.tempest --regex '$(REGEX)' --min-microversion $(MIN_MICROVERSION) --virt $(VIRT) --hosts $(HOSTS) \
		--concurrency $(CONCURRENCY) $(if $(CLOUD),--cloud $(CLOUD))

# Its dependencies and ours do not meet: an environment of its own.
$(TEMPEST)/.installed: tests/tempest/requirements.txt
	[ -x $(TEMPEST)/bin/python ] || $(PY) -m venv $(TEMPEST)
	$(TEMPEST)/bin/python -m pip install -q -r tests/tempest/requirements.txt
	@touch $@

# One after another: each test starts the services that it leans on, and real guests.
test-openstack: PACKAGES += $(OPENSTACK_PACKAGES)
test-openstack: install $(OPENSTACK)/.installed
	$(PY) -m pytest -v -m openstack tests/openstack/test_story.py

$(OPENSTACK)/.installed: tests/openstack/requirements.txt
	[ -x $(OPENSTACK)/bin/python ] || $(PY) -m venv $(OPENSTACK)
	$(OPENSTACK)/bin/python -m pip install -q -r tests/openstack/requirements.txt
	@touch $@

test-metal: install $(IRONIC)/.installed
	$(PY) -m pytest -v tests/metal

$(IRONIC)/.installed: tests/metal/requirements.txt
	[ -x $(IRONIC)/bin/python ] || $(PY) -m venv $(IRONIC)
	$(IRONIC)/bin/python -m pip install -q -r tests/metal/requirements.txt
	@touch $@

test-horizon: PACKAGES += $(if $(shell command -v npm),$(filter-out nodejs npm,$(HORIZON_PACKAGES)),$(HORIZON_PACKAGES))
test-horizon: install $(HORIZON)/.installed
	$(PY) -m pytest -v -m openstack tests/openstack/horizon

# Some of what it needs is built with a setuptools that still has pkg_resources.
$(HORIZON)/.installed: tests/openstack/horizon/requirements.txt
	[ -x $(HORIZON)/bin/python ] || $(PY) -m venv $(HORIZON)
	echo 'setuptools<80' > $(HORIZON)/build.txt
	PIP_CONSTRAINT=$(HORIZON)/build.txt $(HORIZON)/bin/python -m pip install -q -r tests/openstack/horizon/requirements.txt
	cd $(HORIZON) && npm install --silent --no-save --prefix . playwright-core@1.65.1
	@touch $@

test-ceph: PACKAGES += $(CEPH_PACKAGES)
test-ceph: install
	$(PY) -m pytest -v -m ceph tests/volume tests/e2e

# Eight minutes: processors are emulated.
test-kernel: PACKAGES += $(KERNEL_PACKAGES)
test-kernel: install
	$(PY) -m tests.kernel

# Minutes to build the image, and a quarter of an hour to boot where processors are emulated.
test-cloud-init: install
	$(PY) -m pytest -v -m hosts tests/e2e/test_cloud_init.py

fuzz: install
	$(PY) -m tests.fuzz --cases $(CASES) --seed $(SEED)

check: install
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: install
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

bench: install
	$(PY) -m compileall -q nova_async
	$(PY) -m tests.bench

lab: install
	$(PY) -m tests.lab up --hosts $(HOSTS)

lab-down:
	$(PY) -m tests.lab down

schema: install
	$(PY) -m nova_async.db.present

lock:
	@head -2 requirements.lock > requirements.lock.new
	@$(PY) -m pip list --format=freeze | grep -viE '^(pip|setuptools|wheel|nova.async)==' >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find nova_async tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(TEMPEST) $(BROWSER) $(IRONIC) $(OPENSTACK) $(HORIZON)
