# Everything one types to try onetape or to work on it. `make` lists the words.
#
# The Python environment lives in .venv. It is made the first time something needs it, from the
# exact, hash-checked versions in requirements/, and again when those files change. All it has to
# say goes to stderr, so that the last line of `make demo ARGS=--json` is the demo's own.
# Works with GNU make 3.81 and later.

.DEFAULT_GOAL := help

BIN := .venv/bin
WORKERS ?= 2
UV ?= uv
SERVERS ?= $(or $(ONETAPE_SERVERS),$(HOME)/.cache/onetape/servers)

# A stamp says that the environment is complete. Its name carries a checksum of this folder's path,
# because an environment holds absolute paths: one that was moved or copied here does not count.
HERE := $(shell pwd | cksum | cut -d' ' -f1)
RUN := .venv/run-$(HERE)
DEV := .venv/dev-$(HERE)
SITE := .venv/site-$(HERE)
CLIENTS := .venv/clients-$(HERE)
# Neither does one whose Python has since gone: then all stamps are made anew.
GONE := $(shell test -x $(BIN)/python || echo gone)

PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.PHONY: help demo test test-all test-cluster servers check wheel bench docs clean requirements flink-jar modes gone

help: ## this list
	@echo 'onetape: make WORD, where WORD is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'Any of them with PYTHON=/path/to/python3.12 to choose the Python of a new .venv.'

demo: $(RUN) ## see it work: make demo [FILE=your.pcap] [ARGS="--seconds 10 --seed 7 --json"]
	@$(BIN)/onetape demo $(if $(FILE),--file "$(FILE)") $(ARGS)

# A test that hangs is ended, with where it hung, and the others go on.
PYTEST := $(BIN)/pytest -n $(WORKERS) -q --timeout 400

# The modes come first because they are short, and so that the last line counts the whole suite.
test: modes ## the fast tests, and tests/modes again as plain Python and with bounds checks
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: modes ## every test, the slow ones too
	@$(PYTEST) $(ARGS)

test-cluster: $(CLIENTS) ## the tests with Kafka, Flink, Spark and the like; what is absent is named
	@$(PYTEST) -m cluster $(ARGS)

servers: $(CLIENTS) ## install Kafka, registry, QuestDB, NATS, and Flink, Sail, Spark: some 4 GB
	@ONETAPE=$(BIN)/onetape deploy/servers "$(SERVERS)" $(ARGS) || \
	    echo 'what is named above is missing; its tests will skip' >&2
	@echo 'now:'
	@echo '  export ONETAPE_SERVERS="$(SERVERS)" ONETAPE_S3_SERVER="$(SERVERS)/s3"'
	@echo '  make test-cluster'

modes: $(DEV)
	@echo 'tests/modes as plain Python:'
	@ONETAPE_MODE=interpreted $(BIN)/pytest -q tests/modes
	@echo 'tests/modes with bounds checks:'
	@ONETAPE_MODE=boundscheck $(BIN)/pytest -q tests/modes

check: $(DEV) ## lint, format, types, and the order of the rooms; a few seconds
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_rooms.py

wheel: $(DEV) ## build the wheel, use it in a bare environment as a user would; some minutes
	@$(BIN)/pytest -q tests/test_wheel.py

bench: $(RUN) ## measure this machine, side by side with the baselines
	@$(BIN)/onetape bench all $(ARGS)

docs: $(SITE) ## list the documentation, run every example in it, build the site into build/site
	@for page in README.md docs/*.md; do \
	    test ! -f "$$page" || printf '  %-28s %s\n' "$$page" "$$(sed -n 's/^# *//p' "$$page" | head -n 1)"; \
	done
	@$(BIN)/pytest -q tests/test_docs.py tests/test_examples.py tests/test_reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'the site is in build/site; open build/site/index.html'

clean: ## remove .venv, build outputs and caches of tools
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name .git -prune -o -name __pycache__ -prune -exec rm -rf {} +

PIN = $(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command "make requirements" $(ARGS)

# Engines whose versions cannot be those of onetape itself: `onetape spark setup` and its like.
ENGINES := flink sail spark

requirements: ## compile requirements/*.txt again, with uv; ARGS=--upgrade for newer versions
	@command -v $(UV) >/dev/null || { echo 'make requirements: needs uv: pip install uv' >&2; exit 1; }
	@$(PIN) -o requirements/run.txt pyproject.toml >/dev/null
	@$(PIN) -o requirements/build.txt requirements/build.in >/dev/null
	@$(PIN) -o requirements/dev.txt -c requirements/run.txt -c requirements/build.txt \
	    pyproject.toml requirements/build.in requirements/dev.in >/dev/null
	@$(PIN) -o requirements/clients.txt -c requirements/dev.txt requirements/clients.in >/dev/null
	@$(PIN) -o requirements/docs.txt -c requirements/dev.txt requirements/docs.in >/dev/null
	@for engine in $(ENGINES); do \
	    $(PIN) -o src/onetape/requirements/$$engine.txt requirements/$$engine.in >/dev/null || exit 1; \
	done
	@! grep -nE 'https?:|index-url|find-links' requirements/*.txt src/onetape/requirements/*.txt \
	    || { echo 'make requirements: the lines above name a download address' >&2; exit 1; }

flink-jar: ## build onetape-flink.jar again; FLINK=the folder that onetape flink setup made, and a JDK
	@deploy/flink/build-jar "$(FLINK)"

# What follows makes the environment.

# Prints a version, then why that Python will not do, if so. Understood by every Python since 2.7.
define PROBE
import sys, sysconfig
def lacks():
    if sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)): return "out of range"
    if sys.implementation.name != "cpython": return "not CPython"
    if sysconfig.get_config_var("Py_GIL_DISABLED"): return "free-threaded: Numba has no build for it"
    if sys.maxsize < 2**32: return "32-bit"
    try: import ensurepip, venv
    except ImportError: return "its venv module is missing: apt-get install python3.%d-venv" % sys.version_info[1]
print(": ".join(filter(None, ["%d.%d.%d" % sys.version_info[:3], lacks()])))
endef
export PROBE

$(RUN): requirements/run.txt requirements/build.txt pyproject.toml $(GONE)
	@exec >&2; set -e; \
	if ! test -x $(BIN)/python || ! test -e $@; then \
	    set -- python3.13 python3.12 python3.11 python3 python; \
	    test -z "$(PYTHON)" || set -- "$(PYTHON)"; \
	    found=; chosen=; \
	    for python in "$$@"; do \
	        if command -v "$$python" >/dev/null; then \
	            version=$$("$$python" -c "$$PROBE" 2>/dev/null) || version='does not run'; \
	        elif test -n "$(PYTHON)"; then version='no such program'; \
	        else continue; fi; \
	        case "$$version" in \
	            *[!0-9.]*) found="$$found$${found:+, }$$python ($$version)" ;; \
	            *) chosen=$$python; break ;; \
	        esac; \
	    done; \
	    if test -z "$$chosen"; then \
	        echo "onetape needs Python 3.11, 3.12 or 3.13; found: $${found:-none}." \
	            "Install one, or name it: make PYTHON=/path/to/python3.12"; \
	        exit 1; \
	    fi; \
	    echo "onetape: making .venv with Python $$version ($$(command -v "$$chosen"))"; \
	    "$$chosen" -m venv --clear .venv; \
	fi; \
	echo 'onetape: installing NumPy, Numba, pyarrow and the rest (about a minute, once)'; \
	$(PIP) install --require-hashes --only-binary=:all: -r requirements/run.txt -r requirements/build.txt; \
	$(PIP) install --no-deps --no-build-isolation -e .; \
	touch $@
# The build backend is installed for running too: it is small, and the editable install it makes is
# the one way to get .venv/bin/onetape, the metadata (version, entry points) and the path right
# that pip itself looks after; a .pth file and a script of our own would be three things to keep.

$(DEV): $(RUN) requirements/dev.txt
	@exec >&2; set -e; \
	echo 'onetape: installing pytest, Hypothesis, ruff and mypy (half a minute, once)'; \
	$(PIP) install --require-hashes --only-binary=:all: -r requirements/dev.txt; \
	touch $@

$(CLIENTS): $(DEV) requirements/clients.txt
	@exec >&2; set -e; \
	echo 'onetape: installing clients of Kafka, NATS, QuestDB and Delta (half a minute, once)'; \
	$(PIP) install --require-hashes --only-binary=:all: -r requirements/clients.txt; \
	touch $@

$(SITE): $(DEV) requirements/docs.txt
	@exec >&2; set -e; \
	echo 'onetape: installing MkDocs Material and mkdocstrings (half a minute, once)'; \
	$(PIP) install --require-hashes --only-binary=:all: -r requirements/docs.txt; \
	touch $@
