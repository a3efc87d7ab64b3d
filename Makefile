# make demo    install into .venv and run the whole job on made pictures
# make test    install and run the tests, with CUDA kernels where there is an nvcc for them (ADTOOL_CUDA: see setup.py)
# make test-cuda-torch   run the operators' tests again beside a CUDA build of torch, with the library of make test
# make cuda-static       write benchmarks/cuda_static.md anew
# make lint    install the linters and run them
# make clean   remove what building and running made; .venv stays

PYTHON ?= python3
TORCH  ?= torch==2.13.0
CUDA_TORCH ?= torch==2.14.1
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
NATIVE := setup.py _nvcc.py $(shell find csrc -type f)

DEMO_LIBRARY := $(VENV)/native-$(or $(ADTOOL_CUDA),auto).stamp
TEST_LIBRARY := $(VENV)/native-$(or $(ADTOOL_CUDA),nvcc).stamp
SECOND_VENV := .venv-cuda

.PHONY: demo test test-cuda-torch cuda-static lint clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: $(DEMO_LIBRARY)
	$(BIN)/adtool demo
	@echo
	@echo "Next, your own pictures: $(BIN)/adtool train FOLDER_OF_GOOD_PICTURES, then $(BIN)/adtool score NEW_PICTURES --heatmaps heat"

test: $(TEST_LIBRARY) $(VENV)/test.stamp
	$(BIN)/python -m pytest

# It needs no GPU: the library loads, CUDA kernels are registered, CPU kernels work.
test-cuda-torch: $(TEST_LIBRARY)
	@cuda=$$($(BIN)/python -c 'from adtool.ops._native import native_info; print(*native_info()["cuda"] or [])') || exit 1; \
	if [ -z "$$cuda" ]; then \
	  echo "test-cuda-torch: skipped: the native code was built without CUDA kernels"; \
	elif ! $(PIP) install --dry-run --no-deps "$(CUDA_TORCH)"; then \
	  echo "test-cuda-torch: skipped: pip has no $(CUDA_TORCH)"; \
	else \
	  $(MAKE) --no-print-directory VENV=$(SECOND_VENV) TORCH=$(CUDA_TORCH) $(SECOND_VENV)/test.stamp && \
	  $(SECOND_VENV)/bin/python -c 'import torch; assert torch.version.cuda, torch.__version__' && \
	  ADTOOL_CUDA=1 $(SECOND_VENV)/bin/python -m pytest tests/ops/test_every_op.py tests/ops/test_native.py; \
	fi

cuda-static: $(TEST_LIBRARY) $(VENV)/cuda-static.stamp $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.cuda_static

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror

clean:
	rm -rf build dist *.egg-info demo runs adtool/*.so adtool/*/*.so $(VENV)/native-*.stamp

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

# One library lies in the tree at a time: native-<value of ADTOOL_CUDA>.stamp says which.
$(VENV)/native-%.stamp: $(VENV)/adtool.stamp $(NATIVE)
	@echo "compiling the native code (what the compiler says: build/native.log)"
	@mkdir -p build
	@rm -f $(VENV)/native-*.stamp
	@ADTOOL_CUDA=$* $(BIN)/python setup.py build_ext --inplace >build/native.log 2>&1 || { cat build/native.log; exit 1; }
	@grep '^adtool:' build/native.log
	@touch $@

$(VENV)/test.stamp $(VENV)/lint.stamp $(VENV)/cuda-static.stamp: $(VENV)/%.stamp: $(VENV)/adtool.stamp
	ADTOOL_NATIVE=0 $(PIP) install --no-build-isolation --editable ".[$*]"
	@touch $@
