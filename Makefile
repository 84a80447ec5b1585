# Everything one does with this repository. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# Salt's hundreds of modules, and the tests, are compiled once and not by each process that is started, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=

RUNTIME := .venv/.runtime
STAMP := .venv/.stamp
BIN := .venv/bin
SALT ?= 3007.15
SALT_SERIES = $(firstword $(subst ., ,$(SALT)))
SALT_VENV = .venv-salt-$(SALT)
PYTEST_ARGS ?=
TEST_LOCKS := runtime-3007.txt runtime-3006.txt
PEPPER := .venv-pepper/.stamp
OPENAPI := .venv-openapi/.stamp
PIPELINES := .venv-pipelines/.stamp
ISSUER := .venv-issuer/.stamp
NEXT_PYTHON := .venv-python3.14/.stamp
E2E := .venv-e2e/.stamp
NODE := tests/compat/node
NODE_CLIENT := $(NODE)/node_modules/.package-lock.json
ONLY ?= *
default_of = $(shell sed -n 's/^ARG $(1)=//p' Dockerfile)
IMAGE ?= salt-sidecar:$(call default_of,VERSION)-salt$(call default_of,SALT_VERSION)
SBOM ?= build/sbom.json
DOCKER ?= docker

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

INSTALL := requirements/install requirements/installer requirements/uv.txt requirements/build.txt

# Not pyproject.toml: the installation is editable, and a change to a tool's settings there needs no new environment.
$(RUNTIME): requirements/runtime-3008.txt $(INSTALL)
	@requirements/install .venv runtime-3008.txt
	@touch $@

$(STAMP): requirements/runtime-3008.txt requirements/dev.txt $(INSTALL)
	@requirements/install .venv runtime-3008.txt dev.txt
	@touch $(RUNTIME) $@

.PHONY: venv run smoke
venv: $(STAMP) ## Make .venv from the lock files (everything below does it when needed).

run: $(RUNTIME) ## Start the demo: a salt-master, two minions and the sidecar; Ctrl-C stops all of it.
	@exec $(BIN)/salt-sidecar demo

smoke: $(RUNTIME) ## Start the demo on free ports, send one call of each client, check the answers, stop.
	@$(BIN)/salt-sidecar smoke

.PHONY: check check-format check-lint check-types check-imports check-unit check-whole
check: $(STAMP) ## The fast part: format, lint, types, imports, tests without processes.
	@$(MAKE) -j --output-sync=target check-unit check-whole check-types check-lint check-format check-imports

check-format: $(STAMP)
	@$(BIN)/ruff format --check --quiet service tests benchmarks config requirements || { echo "run: make format"; exit 1; }

check-lint: $(STAMP)
	@$(BIN)/ruff check --quiet service tests benchmarks config requirements

check-types: $(STAMP)
	@$(BIN)/mypy --strict service tests benchmarks config requirements

check-imports: $(STAMP)
	@$(BIN)/lint-imports

# Two processes, each with half of the work and its own memory of what failed. Workers that share one run cost half as much again: each
# of them collects every test.
FAST = $(BIN)/python -m pytest -q -o cache_dir=.pytest_cache/$@ --hypothesis-profile "few examples" -m "$(WITHOUT)" $(1) $(PYTEST_ARGS)
WITHOUT = not slow and not master
# What PYTEST_ARGS selects may be all in the other half.
OTHER_HALF = $(if $(PYTEST_ARGS),|| [ $$? = 5 ])
# Their thousands of small files, and what SQLite syncs, are in memory where there is such a place, and programs may be started from it.
check-unit check-whole: export TMPDIR := $(or $(shell [ -w /dev/shm ] && ! grep -q ' /dev/shm [a-z]* [^ ]*noexec' /proc/mounts && echo /dev/shm),$(TMPDIR))
HALF = tests/unit tests/server tests/compat
# One test in twenty-five takes more than a quarter of the time of all: `test` runs those.
check-unit check-whole: WITHOUT += and not costly
check-unit: $(STAMP)
	@$(call FAST,$(HALF)) $(OTHER_HALF)

check-whole: $(STAMP)
	@$(call FAST,tests --ignore tests/real $(HALF:%=--ignore %)) $(OTHER_HALF)

.PHONY: costs
costs: $(STAMP) ## What the fast tests take of the CPU, one by one: which of them are to be marked `costly`, and which need the mark no more.
	@for half in check-unit check-whole; do $(MAKE) $$half PYTEST_ARGS='-p tests.cpu_of_tests -m "not slow and not master"' || exit; done

# Not a part of `check`: that would take longer than its 15 seconds.
.PHONY: coverage
coverage: $(STAMP) ## Which lines and branches of service/ the fast tests reach; fails below the share that pyproject.toml names.
	@rm -f .coverage
	@$(BIN)/python $(AGAIN) --hypothesis-profile "few examples" -m "$(WITHOUT)" tests --ignore tests/real --cov --cov-append $(PYTEST_ARGS)

.PHONY: format test test-salt test-python equivalence outage busy compat clients
format: $(STAMP) ## Format the code and apply the safe fixes of the linter.
	@$(BIN)/ruff check --quiet --fix service tests benchmarks config requirements || true
	@$(BIN)/ruff format service tests benchmarks config requirements

# Real fleets on a shared machine fail now and then for reasons of their own. What failed is run once more, in fresh processes: what fails
# twice is a fault of ours, what fails once is named, counted by .ci/run, and looked at.
AGAIN = -m tests.again -q

# The mark `hypothesis` is on every test with @given: `check` tried few examples.
test: check clients ## Everything: `check`, then the slow tests, those on a real master and the properties; what fails is tried once more.
	@$(MAKE) -j slow-jobs slow-real slow-contract slow-rest

# Side by side: the first three mostly wait, for masters and sidecars that are stopped, frozen or away, for alerts, and for minions.
# Which tests took the longest is said at the end of each.
SLOW = $(BIN)/python $(AGAIN) --durations=15 --durations-min=10 -m "slow or master or hypothesis or costly" $(1) $(PYTEST_ARGS) $(OTHER_HALF)
JOBS = tests/real/jobs
WAITING = tests/real tests/observe
CONTRACT = tests/contract
.PHONY: slow-jobs slow-real slow-contract slow-rest
# What survives a cut takes five minutes, and its words are in a table that few changes touch: `make survival`.
CUTS = documentation_says
slow-jobs: $(STAMP)
	@$(call SLOW,$(JOBS) -k "not $(CUTS)")

slow-real: $(STAMP)
	@$(call SLOW,$(WAITING) --ignore $(JOBS))

slow-contract: $(STAMP)
	@$(call SLOW,$(CONTRACT))

slow-rest: $(STAMP)
	@$(call SLOW,tests $(WAITING:%=--ignore %) --ignore $(CONTRACT))

$(SALT_VENV)/.stamp: requirements/runtime-$(SALT_SERIES).txt requirements/test-$(SALT_SERIES).txt $(INSTALL)
	@grep -q '^salt==$(SALT) ' $< || { echo "SALT=$(SALT): the lock files know" $$(cd requirements; grep -ho '^salt==[0-9.]*' $(TEST_LOCKS)); exit 1; }
	@requirements/install $(SALT_VENV) runtime-$(SALT_SERIES).txt test-$(SALT_SERIES).txt
	@touch $@

test-salt: $(SALT_VENV)/.stamp ## The contract and equivalence suites with another Salt: SALT=3007.15 or 3006.28; SHORT=1 leaves the slow ones out.
	@$(SALT_VENV)/bin/python $(AGAIN) tests/contract $(if $(SHORT),-m "not slow") $(PYTEST_ARGS)

OLDER_SALTS = 3007.15 3006.28
.PHONY: test-salts $(OLDER_SALTS:%=test-salt-%)
test-salts: $(OLDER_SALTS:%=test-salt-%) ## The short form of `test-salt` with each older Salt that we support; with -j side by side.

$(OLDER_SALTS:%=test-salt-%): test-salt-%:
	@$(MAKE) test-salt SALT=$* SHORT=1

PYTHON ?= python3
OTHER_VENV = .venv-$(notdir $(PYTHON))
$(OTHER_VENV)/.stamp: requirements/runtime-3008.txt requirements/dev.txt $(INSTALL)
	@PYTHON=$(PYTHON) requirements/install $(OTHER_VENV) runtime-3008.txt dev.txt
	@touch $@

test-python: $(OTHER_VENV)/.stamp ## The fast tests and the smoke test with another Python: PYTHON=python3.12.
	@$(OTHER_VENV)/bin/python -m pytest -q --hypothesis-profile "few examples" -m "not slow and not master" tests $(PYTEST_ARGS)
	@$(OTHER_VENV)/bin/salt-sidecar smoke | tail -n 2

equivalence: $(STAMP) ## Run the same lows through the sidecar and through Salt's own client, print the table.
	@$(BIN)/python -m tests.contract.equivalence_table

outage: $(STAMP) ## Stop and start a real master under load; print what the callers see.
	@$(BIN)/python -m tests.real.outage_transcript

.PHONY: ci-story
ci-story: $(STAMP) ## Let salt-ci meet success, failure, a kill and more beside a real master; print the log of each platform.
	@$(BIN)/python -m tests.real.jobs.ci_story

.PHONY: id-story
id-story: $(STAMP) ## Let pipelines in by id tokens, scoped tokens and certificates beside a real master, and keep others out; print their logs.
	@$(BIN)/python -m tests.real.jobs.id_story

.PHONY: ssh-story
ssh-story: $(STAMP) ## Call hosts without a minion through a real server of ssh's, and try the attacks on salt-api's client ssh; print each call and its answer.
	@$(BIN)/python -m tests.real.ssh_story

.PHONY: screenshots
screenshots: $(STAMP) clients ## Take the pictures of docs/ui.md again; print how long the page shows nothing.
	@$(BIN)/python -m pytest -q tests/contract/test_ui.py -k "everybody or shows_nothing"
	@cat tests/artifacts/ui-first-paint.txt
	@cd tests/artifacts; cp ui-job-light-1200.png $(CURDIR)/docs/screenshots/job-light.png; cp ui-job-dark-1200.png $(CURDIR)/docs/screenshots/job-dark.png; \
		cp ui-job-light-360.png $(CURDIR)/docs/screenshots/job-narrow.png

.PHONY: attack
attack: $(STAMP) ## Attack the sidecar beside a real master, point by point, print the table; POINT=B plays those points only.
	@$(BIN)/python -W ignore -m tests.attack.table $(POINT)

busy: $(STAMP) ## Let a real master be busy, frozen, killed and unreachable; print what callers of rest_cherrypy and of the sidecar get. ONLY_CASE=frozen.
	@$(BIN)/python -m tests.real.busy_table $(if $(ONLY_CASE),'$(ONLY_CASE)')

.PHONY: survival
survival: $(STAMP) ## Cut the parts of a real cluster one after the other, and hold the table of docs/scale-out.md to what is seen; five minutes, no part of `test`.
	@$(BIN)/python -m pytest -q $(JOBS)/test_cluster.py -k $(CUTS)

.PHONY: jobs-story
jobs-story: $(STAMP) ## Play what a pipeline meets with /v1/jobs, on a real master: print HTTP status, job status, exit code and executions; fails if one is not as expected.
	@$(BIN)/python -m tests.real.jobs.jobs_story

.PHONY: observe
observe: $(STAMP) ## Let things go wrong with a real fleet before a real Prometheus; print the alerts that fired and the key series.
	@$(BIN)/python -m tests.observe.transcript

compat: $(STAMP) ## Send the same requests to rest_cherrypy and to the sidecar, print the table; ONLY='login*' shows those answers whole.
	@$(BIN)/python -W ignore -m tests.compat.table $(if $(filter-out *,$(ONLY)),'$(ONLY)')

.PHONY: fuzz
fuzz: $(STAMP) ## Send made-up bodies of every media type to a sidecar while somebody asks /livez; print time and memory per byte, and the longest wait.
	@$(BIN)/python -m tests.server.fuzz_table

clients: $(PEPPER) $(OPENAPI) $(PIPELINES) $(ISSUER) $(NODE_CLIENT) $(NEXT_PYTHON) ## Install what the tests run besides: pepper, schemathesis, check-jsonschema and an OpenID provider from PyPI, salt-api from npm, a newer Python from Debian.

.venv-pepper/.stamp .venv-openapi/.stamp .venv-pipelines/.stamp .venv-issuer/.stamp .venv-e2e/.stamp .venv-bench/.stamp: .venv-%/.stamp: requirements/%.txt $(INSTALL)
	@requirements/install .venv-$* $*.txt
	@touch $@

# salt-ci is for Pythons that this machine may not have; without this one its test is skipped.
$(NEXT_PYTHON): requirements/debian-python
	@requirements/debian-python 3.14 forky $(@D) && mkdir -p $(@D) && touch $@

# Without npm the tests of its package are skipped, and fail in CI.
$(NODE_CLIENT): $(NODE)/package.json $(NODE)/package-lock.json
	@command -v npm >/dev/null || { echo "there is no npm: apt-get install nodejs npm"; exit 0; }; cd $(NODE) && npm ci --silent

.PHONY: e2e
e2e: $(E2E) ## Build the images and run them for real, on a Docker engine of their own; as root. ONLY_STEP=compose runs the steps with that word.
	@.venv-e2e/bin/python -u -m tests.e2e $(if $(ONLY_STEP),--only '$(ONLY_STEP)')

# What .ci/run lets work meanwhile; it gives way to e2e, which waits for containers half of its time.
.PHONY: beside-e2e
beside-e2e:
	@nice $(MAKE) test-salts

.PHONY: image sbom
image: ## Build both images from this commit, tagged and labelled: salt-sidecar:VERSION-saltX.Y; REGISTRY=, SALT_VERSION=, SOURCE_URL=, BUILD_ARGS=.
	@DOCKER='$(DOCKER)' requirements/image/build $(BUILD_ARGS)

sbom: $(E2E) ## List what is in an image: IMAGE=NAME:TAG, as CycloneDX in build/sbom.json (SBOM=FILE).
	@mkdir -p $(dir $(SBOM)); image=$$(mktemp); trap 'rm -f "$$image"' EXIT; $(DOCKER) save --output "$$image" '$(IMAGE)'; \
	.venv-e2e/bin/syft --quiet "docker-archive:$$image" --output cyclonedx-json='$(SBOM)'; echo "$(SBOM): $$(grep -o '"bom-ref"' '$(SBOM)' | wc -l) components"

# Neither tests/helm nor helm is part of `check`: the chart's tests need Helm, and take ten seconds.
.PHONY: chart
chart: $(STAMP) $(E2E) ## Check the Helm chart: lint, render, schemas of Kubernetes, refusals, generated files.
	@$(BIN)/ruff format --check --quiet helm && $(BIN)/ruff check --quiet helm && $(BIN)/mypy --strict helm
	@.venv-e2e/bin/python -m pytest -c tests/helm/pytest.ini tests/helm $(PYTEST_ARGS)

requirements/%.txt:
	@echo "there is no lock file $@; SALT= takes" $$(cd requirements; grep -ho '^salt==[0-9.]*' $(TEST_LOCKS)); exit 1

BENCH := .venv-bench/.stamp
SECONDS_OF_SOAK = $(or $(SECONDS),1800)
.PHONY: pictures
pictures: $(STAMP) $(BENCH) ## Let a short day pass before a real Prometheus, draw what the dashboards show of it, into docs/img; five minutes.
	@mkdir -p build; $(BIN)/python -m tests.observe.pictures.asking build/answers.json
	@.venv-bench/bin/python -m tests.observe.pictures.drawing build/answers.json

.PHONY: bench bench-quick bench-report bench-profile tuning messages soak
bench: $(STAMP) ## Measure the sidecar beside salt-api's servers and the floor; under 30 minutes; results in benchmarks/results.
	@$(BIN)/python -m benchmarks.run

bench-quick: $(STAMP) ## The same, a few cases and one short round: to see that it works, not to judge by.
	@$(BIN)/python -m benchmarks.run --quick

bench-report: $(BENCH) ## Write docs/performance.md, its plots and docs/tuning.md from the newest results.
	@.venv-bench/bin/python -m benchmarks.report

bench-profile: $(BENCH) ## A flame graph of the sidecar under load, in benchmarks/profiles; CASE=local-8.
	@$(BIN)/python -m benchmarks.profiling $(if $(CASE),--case $(CASE) --output benchmarks/profiles/$(CASE).svg)

tuning: $(STAMP) $(BENCH) ## Measure what a return costs a master with each of its settings, write docs/tuning.md; half an hour; ONLY=job-cache-off, ROUNDS=3.
	@$(BIN)/python -W ignore -m benchmarks.tuning --profile --rounds $(or $(ROUNDS),3) $(if $(filter-out *,$(ONLY)),--only '$(ONLY)')

messages: $(STAMP) ## Count what callers cost a master in messages, through the sidecar and by Salt's own client, for docs/tuning.md; five minutes, on any machine.
	@$(BIN)/python -W ignore -m benchmarks.messages

soak: $(STAMP) ## Every kind of caller at once, for SECONDS=1800; memory, descriptors, threads, lost answers; SHORT=1 is what `make test` runs of it.
	@$(BIN)/python -m benchmarks.soak $(if $(SHORT),--short,--seconds $(SECONDS_OF_SOAK))

.PHONY: dist audit
dist: $(E2E) ## Wheel, sdist, the chart's archive and the lock files of the last commit, with lists of packages, provenance and checksums, in dist.
	@requirements/dist dist

audit: $(E2E) ## Look what goes into the images up in OSV's database of advisories; says so where that cannot be asked. AUDIT_ARGS=--required, --url URL.
	@.venv-e2e/bin/python -m requirements.release.audit $(AUDIT_ARGS)

.PHONY: docs lock clean
docs: $(STAMP) ## Write the generated documentation again.
	@$(BIN)/salt-sidecar docs --write
	@$(BIN)/python -m config.grafana.build
	@$(BIN)/python -m helm.generate

lock: ## Write the lock files again; UPGRADE=1 takes newer releases that are a week old.
	@UPGRADE=$(UPGRADE) requirements/lock

clean: ## Remove the environments and what the tools left.
	@rm -rf .uv .uv.lock .venv .venv-* benchmarks/profiles $(NODE)/node_modules tests/artifacts build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache
	@find service tests benchmarks config helm -name __pycache__ -type d -prune -exec rm -rf {} +
