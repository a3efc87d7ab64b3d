# make demo    install into .venv and run the whole job on made pictures
# make test    install and run the tests
# make lint    install the linters and run them
# make clean   remove what building and running made; .venv stays

PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
NATIVE := setup.py $(shell find csrc -type f)

.PHONY: demo test lint clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: $(VENV)/native.stamp
	$(BIN)/adtool demo
	@echo
	@echo "Next, your own pictures: $(BIN)/adtool train FOLDER_OF_GOOD_PICTURES, then $(BIN)/adtool score NEW_PICTURES --heatmaps heat"

test: $(VENV)/native.stamp $(VENV)/test.stamp
	$(BIN)/python -m pytest

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror

clean:
	rm -rf build dist *.egg-info demo runs adtool/*.so adtool/*/*.so $(VENV)/native.stamp

# Torch comes first, so that it is unpacked once: the native code is compiled against the torch it will run beside.
$(VENV)/torch.stamp:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"{sys.executable} is Python {sys.version.split()[0]}; adtool needs 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing $(TORCH), the largest part"
	$(PIP) install "$(TORCH)" "setuptools>=77" wheel ninja
	@touch $@

# The package is installed as links to this tree without native code, which is then built in place: a changed source
# compiles alone, and a changed Python file needs nothing.
$(VENV)/adtool.stamp: $(VENV)/torch.stamp pyproject.toml
	ADTOOL_NATIVE=0 $(PIP) install --no-build-isolation --editable ".[weights]"
	@touch $@

$(VENV)/native.stamp: $(VENV)/adtool.stamp $(NATIVE)
	@echo "compiling the native code (what the compiler says: build/native.log)"
	@mkdir -p build
	@$(BIN)/python setup.py build_ext --inplace >build/native.log 2>&1 || { cat build/native.log; exit 1; }
	@grep '^adtool:' build/native.log
	@touch $@

$(VENV)/test.stamp $(VENV)/lint.stamp: $(VENV)/%.stamp: $(VENV)/adtool.stamp
	ADTOOL_NATIVE=0 $(PIP) install --no-build-isolation --editable ".[$*]"
	@touch $@
