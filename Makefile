# `make demo` and `make test` do everything on a fresh machine that has Python 3.11+ and a Rust toolchain.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUST   := $(shell find crates -name '*.rs' -not -path '*/target/*' -not -path '*/fuzz/*' 2>/dev/null) Cargo.toml Cargo.lock

.PHONY: demo picture test check format bench bench-table wheel fuzz lock clean

demo: $(STAMP)
	rm -rf demo
	$(BIN)/precast sample demo/slices
	$(BIN)/precast build demo/slices/em demo/slices/labels demo --resolution 32,32,40 --image-encoding jpeg

# the picture in the README; needs Chromium
picture: demo
	$(BIN)/precast snapshot demo -o docs/images/demo.png --size 860x430 --layout xy-3d --overwrite

test: $(STAMP)
	cargo test --workspace --profile quick --locked --quiet
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal

check: $(STAMP)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls --allow-untyped-decorators tests
	$(BIN)/lint-imports

format: $(STAMP)
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# the environment, and the package in it: compiled again whenever a Rust file is newer
$(VENV)/.environment: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	touch $@

$(STAMP): $(VENV)/.environment pyproject.toml $(RUST)
	PATH="$(abspath $(BIN)):$$PATH" MATURIN_PEP517_ARGS="--locked" \
	  $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# one wheel for every Python from 3.11 on, tagged with the oldest Linux that it runs on; the release workflow builds
# those for other platforms, and for old Linux in a manylinux container
wheel: $(VENV)/.environment
	rm -rf dist
	$(BIN)/maturin build --release --locked --out dist
	tools/check-wheel.sh dist/*.whl

# side by side with pinned peers, which have an environment of their own; minutes to an hour
.venv-peers/.installed: bench/peers.txt bench/peers-constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --requirement bench/peers.txt --constraint bench/peers-constraints.txt
	touch $@

bench: .venv-peers/.installed $(VENV)/.environment
	rm -rf target/bench-wheel
	$(BIN)/maturin build --release --locked --quiet --out target/bench-wheel
	.venv-peers/bin/pip install --quiet --force-reinstall --no-deps target/bench-wheel/*.whl
	.venv-peers/bin/python -m bench.run
	$(MAKE) bench-table

bench-table: $(STAMP)
	$(BIN)/python -m bench.table

fuzz:
	crates/kernels/fuzz/run.sh $(or $(SECONDS_EACH),60)

# versions and hashes of everything that development needs
lock: $(VENV)/.environment
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --group dev pyproject.toml --output-file requirements-dev.txt

clean:
	rm -rf target dist demo $(VENV) .venv-peers python/precast/*.so
