# `make demo` and `make test` are all that a newcomer needs; each sets up what it lacks.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHONDONTWRITEBYTECODE := 1
export HF_HUB_OFFLINE := 1

# What an export or an operator put into a model repository; admit and replace have a version of their own in git.
NO_RELEASE = find $(1) -mindepth 2 -maxdepth 2 -name '[0-9]*' -not -path '*/admit/*' -not -path '*/replace/*' -exec rm -rf {} + && \
	rm -rf $(1)/.inactive $(1)/releases.json

.PHONY: help demo test test-slow check setup export serve quality load load-long soak swaps faults callers replicas fuzz bench profile samplers in-flight trace dashboard equality overload fullsize gpu-check demo-weights demo-weights-words image-check clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: export  ## start the server, replace an object in a picture, show before / mask / after
	@$(BIN)/python -m export.demo

test: export  ## every test of what Recast does, on any machine: unit, contract, parity, served, fault (8 minutes)
	@$(BIN)/python -m pytest

test-slow: export  ## the tests of benchmarks and of long exports, which `make test` leaves out (7 minutes)
	@$(BIN)/python -m pytest -m slow

check: $(READY)  ## lint, types, and who may import whom
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file client/pyproject.toml client/recast  # as Python 3.10 sees it
	@$(BIN)/lint-imports --no-logo --no-cache

setup: $(READY)  ## the virtual environment with everything pinned

$(READY): pyproject.toml client/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Recast needs $(PYTHON): install the package python3.11 (with python3.11-venv), or name another with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: install the package python3.11-venv."; exit 1; }
	@echo "Installing packages (several minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -e client
	@touch $@

export: $(READY)  ## the demo weights as release 1 in model_repository/ (does nothing when it is up to date)
	@$(BIN)/python -m export --preset demo

serve: export  ## run the server until Ctrl-C: gRPC on 8001, HTTP on 8000, metrics on 8002
	@$(BIN)/python -m serving

quality: export  ## edits of 200 held-out scenes against the truth, twelve of them to look at (15 minutes)
	@$(BIN)/python -m benchmarks.quality

load: export  ## a minute of Locust against a server of its own; HTML, CSV and plots in build/load/
	@$(BIN)/python -m benchmarks.load

load-long: export  ## ten minutes of random arrivals at 0.8 of what the server can answer; fails if something grows
	@$(BIN)/python -m benchmarks.load --share 0.8 --seconds 600 --results benchmarks/results

soak: export  ## an hour of that, with a release that comes or goes every five minutes
	@$(BIN)/python -m benchmarks.load --share 0.8 --seconds 3600 --deploy-every 300 --results benchmarks/results

fuzz: export  ## ten thousand hostile requests over the wire: nothing may crash, leak or grow (10 minutes)
	@$(BIN)/python -m benchmarks.fuzz --results benchmarks/results

faults: export  ## processes killed and clients that vanish, under load: seconds until all is well, what is left (8 minutes)
	@$(BIN)/python -m benchmarks.faults --results benchmarks/results

callers: export  ## calls that end as they arrive, long edits at twice the capacity: what is started again (25 minutes)
	@$(BIN)/python -m benchmarks.callers --results benchmarks/results

replicas: export  ## two replicas behind HAProxy under load, one killed and one stopped in turn (2 minutes)
	@$(BIN)/python -m benchmarks.replicas

swaps: export  ## ten deployments and rollbacks at 0.7 of capacity: failures, latency (8 minutes)
	@$(BIN)/python -m benchmarks.swaps --results benchmarks/results

bench: export  ## Recast beside the usual ways to serve the same weights (25 minutes); renews the table in benchmarks/README.md
	@$(BIN)/python -m benchmarks.compare

profile: export  ## where each millisecond of an edit goes, and how it grows with picture, steps and clients (3 minutes)
	@$(BIN)/python -m benchmarks.costs

trace: export  ## one edit's OpenTelemetry trace as text: every step and network with its milliseconds
	@$(BIN)/python -m benchmarks.traces

in-flight: export  ## two native ways of batching denoising steps in flight, side by side (3 minutes)
	@$(BIN)/python -m benchmarks.in_flight

dashboard: export  ## what each query of the dashboard answers of a server under load, through Prometheus (1 minute)
	@$(BIN)/python -m benchmarks.dashboard

overload: export  ## five times what the server can do for a minute: goodput, refusals, how soon all is well (3 minutes)
	@$(BIN)/python -m benchmarks.overload

equality: export  ## a thousand mixed edits under full load, each compared with the same edit alone (3 minutes)
	@$(BIN)/python -m benchmarks.equality

samplers: export  ## samplers and step counts on held-out scenes, against DDIM at 50 steps (4 minutes)
	@rm -rf build/lcm && mkdir -p build/lcm && cp -r model_repository/. build/lcm && $(call NO_RELEASE,build/lcm)
	@$(BIN)/python -m export --preset demo-lcm --repository build/lcm
	@$(BIN)/python -m benchmarks.samplers --distilled build/lcm

fullsize: export  ## the real checkpoints at full size with random weights: export, memory, speed (20 minutes, 40 GB of disk)
	@$(BIN)/python -m benchmarks.fullsize

gpu-check: export  ## the same for the pictures' networks on a GPU, in fp16
	@$(BIN)/python -m benchmarks.fullsize pictures --gpu

demo-weights: $(READY)  ## train the demo's picture networks again: a quarter of an hour on a GPU, nine hours on two cores
	@$(BIN)/python -m export.demo.train

demo-weights-words: $(READY)  ## train what finds things by words, and the language model, again (hours on a CPU)
	@$(BIN)/python -m export.demo.train_mask --out export/demo/weights/mask
	@$(BIN)/python -m export.demo.train_parse --out export/demo/weights/parse

image-check: export  ## both images built with buildah, the CPU one's server used from start to stop (as root, 10 minutes, 20 GB of disk)
	@$(BIN)/python -m benchmarks.image_check

clean:  ## remove the exported release and everything built (the environment stays)
	@rm -rf build && $(call NO_RELEASE,model_repository)
